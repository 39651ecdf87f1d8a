package flyext

import (
	"strings"
	"testing"
)

// A name is what a shell can have as one, and a value what it can have as that.
func TestEnvironmentVariables(t *testing.T) {
	t.Parallel()
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"
	for c := range 256 {
		one := string([]byte{byte(c)})
		first := strings.Contains(letters, one)
		if got := isEnvName(one); got != first {
			t.Errorf("%q is a name: %v", one, got)
		}
		if got := isEnvName("A" + one); got != (first || strings.Contains("0123456789", one)) {
			t.Errorf("%q is a name: %v", "A"+one, got)
		}
		if got := isEnvValue(one); got != (c > 0 && c < 0x80) {
			t.Errorf("%q is a value: %v", one, got)
		}
	}
	if isEnvName("") || !isEnvValue("") || isEnvValue("a\x00") || !isEnvValue("ü\n") {
		t.Error("of no bytes, or of several")
	}
}

// What is marshaled twice is the same twice.
func TestMarshalIsDeterministic(t *testing.T) {
	t.Parallel()
	v := map[string]int{}
	for _, c := range "zyxwvutsrqponmlkjihgfedcba" {
		v[string(c)] = 1
	}
	text, err := marshal(v)
	if err != nil || !strings.HasPrefix(string(text), `{"a":1,"b":1,"c":1,`) {
		t.Errorf("got %s, %v", text, err)
	}
}

// Of a provider that verifies events otherwise, one notices for both that the
// clock was set back.
func TestClockOfEvents(t *testing.T) {
	t.Parallel()
	p, err := New(nopProvisioner{}, Config{
		BaseURL: "https://logjam.test/flyio", Verifier: XSignature("s"), EventVerifier: BearerToken("t"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if p.eventAuth == p.auth || p.eventAuth.clock != p.auth.clock || p.eventAuth.replay != p.auth.replay {
		t.Error("events have a clock or a store of their own")
	}
}

type nopProvisioner struct{ Provisioner }
