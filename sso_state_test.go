package flyext_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/flyext/flyext"
)

// An attacker begins a handshake and makes a victim's browser open the attacker's
// callback URL. The victim would then work in the attacker's account.
func TestLoginCSRF(t *testing.T) {
	t.Parallel()
	st := newSSOTest(t)
	attacker, victim := st.browser(), st.browser()
	callback := attacker.authorize(attacker.begin("x1"))
	st.wantRefusal(victim.get(callback), http.StatusForbidden, flyext.CodeUnknownHandshake)

	victim.begin("x1") // a handshake of the victim's own does not help the attacker
	st.wantRefusal(victim.get(callback), http.StatusForbidden, flyext.CodeUnknownHandshake)
}

// An attacker begins a handshake and sends the authorize URL to a victim, who signs
// in at Fly.io. The callback has the attacker's state.
func TestStateFixation(t *testing.T) {
	t.Parallel()
	st := newSSOTest(t)
	attacker, victim := st.browser(), st.browser()
	callback := victim.authorize(attacker.begin("x1"))
	st.wantRefusal(victim.get(callback), http.StatusForbidden, flyext.CodeUnknownHandshake)
}

func TestStateReplayed(t *testing.T) {
	t.Parallel()
	st := newSSOTest(t)
	b := st.browser()
	callback := b.authorize(b.begin("x1"))
	b.get(callback)
	if len(st.signedIn) != 1 {
		t.Fatalf("%d sign-ins, want one", len(st.signedIn))
	}
	st.signedIn = nil
	calls := st.fly.calls
	st.wantRefusal(b.get(callback), http.StatusForbidden, flyext.CodeUnknownHandshake)

	again := edit(t, callback, "code", parameter(t, b.authorize(b.begin("x1")), "code"))
	st.wantRefusal(b.get(again), http.StatusForbidden, flyext.CodeUnknownHandshake)
	if st.fly.calls != calls {
		t.Error("Fly.io was called for a used state")
	}
}

// A failed handshake cannot be continued either.
func TestStateReplayedAfterAFailure(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(string) string{
		"cancelled":    func(callback string) string { return edit(t, edit(t, callback, "code"), "error", "access_denied") },
		"without code": func(callback string) string { return edit(t, callback, "code") },
		"wrong code":   func(callback string) string { return edit(t, callback, "code", "wrong") },
	} {
		t.Run(name, func(t *testing.T) {
			st := newSSOTest(t)
			b := st.browser()
			callback := b.authorize(b.begin("x1"))
			b.get(change(callback))
			st.wantRefusal(b.get(callback), http.StatusForbidden, flyext.CodeUnknownHandshake)
		})
	}
}

func TestStateExpires(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		after time.Duration
		enter bool
	}{
		"just in time": {10*time.Minute - time.Second, true},
		"too late":     {10 * time.Minute, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := newSSOTest(t)
			b := st.browser()
			callback := b.authorize(b.begin("x1"))
			st.advance(c.after)
			p := b.get(callback)
			if c.enter {
				if len(st.signedIn) != 1 {
					t.Errorf("got %d %s, want a sign-in", p.status, p.body)
				}
				return
			}
			st.wantRefusal(p, http.StatusBadRequest, flyext.CodeExpiredState)
		})
	}
}

// An attacker sends a forged state from their own browser, which has the right cookie.
func TestForgedState(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		forge func(claims jwt.MapClaims) string
		code  string
	}{
		"genuine": {func(c jwt.MapClaims) string { return sign(t, jwt.SigningMethodHS256, []byte(ssoStateKey), c) }, ""},
		"algorithm none": {func(c jwt.MapClaims) string {
			return sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, c)
		}, flyext.CodeInvalidState},
		"algorithm None, by hand": {func(c jwt.MapClaims) string {
			_, rest, _ := strings.Cut(sign(t, jwt.SigningMethodHS256, []byte(ssoStateKey), c), ".")
			payload, _, _ := strings.Cut(rest, ".")
			return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"None"}`)) + "." + payload + "."
		}, flyext.CodeInvalidState},
		"key confusion: HS384 with our key": {func(c jwt.MapClaims) string {
			return sign(t, jwt.SigningMethodHS384, []byte(ssoStateKey), c)
		}, flyext.CodeInvalidState},
		"key confusion: HS512 with our key": {func(c jwt.MapClaims) string {
			return sign(t, jwt.SigningMethodHS512, []byte(ssoStateKey), c)
		}, flyext.CodeInvalidState},
		"key confusion: RS256": {func(c jwt.MapClaims) string {
			return sign(t, jwt.SigningMethodRS256, rsaKey, c)
		}, flyext.CodeInvalidState},
		"key confusion: the client's secret": {func(c jwt.MapClaims) string {
			return sign(t, jwt.SigningMethodHS256, []byte(ssoSecret), c)
		}, flyext.CodeInvalidState},
		"key confusion: an empty key": {func(c jwt.MapClaims) string {
			return sign(t, jwt.SigningMethodHS256, []byte{}, c)
		}, flyext.CodeInvalidState},
		"unsigned": {func(c jwt.MapClaims) string {
			s := sign(t, jwt.SigningMethodHS256, []byte(ssoStateKey), c)
			return s[:strings.LastIndex(s, ".")+1]
		}, flyext.CodeInvalidState},
		"foreign: another provider's": {with(t, "iss", "https://other.io/flyio"), flyext.CodeInvalidState},
		"foreign: no issuer":          {with(t, "iss", nil), flyext.CodeInvalidState},
		"foreign: another client's":   {with(t, "aud", "other"), flyext.CodeInvalidState},
		"foreign: no audience":        {with(t, "aud", nil), flyext.CodeInvalidState},
		"foreign and expired": {func(c jwt.MapClaims) string {
			c["exp"] = 1
			return with(t, "iss", "https://other.io/flyio")(c)
		}, flyext.CodeInvalidState},
		"not valid yet":          {with(t, "nbf", 1<<40), flyext.CodeInvalidState},
		"without expiry":         {with(t, "exp", nil), flyext.CodeInvalidState},
		"expiry of another type": {with(t, "exp", "never"), flyext.CodeInvalidState},
		"mix of generations":     {with(t, "gen", 1), flyext.CodeInvalidState},
		"without generation":     {with(t, "gen", nil), flyext.CodeInvalidState},
		"without organization":   {with(t, "org", nil), flyext.CodeInvalidState},
		"without nonce":          {with(t, "jti", nil), flyext.CodeInvalidState},
		"another nonce":          {with(t, "jti", "x"), flyext.CodeUnknownHandshake},
		"payload null": {func(jwt.MapClaims) string {
			return sign(t, jwt.SigningMethodHS256, []byte(ssoStateKey), nil)
		}, flyext.CodeInvalidState},
		"too long": {with(t, "pad", strings.Repeat("x", 4096)), flyext.CodeInvalidState},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := newSSOTest(t)
			b := st.browser()
			callback := b.authorize(b.begin("x1"))
			var claims jwt.MapClaims
			if _, _, err := jwt.NewParser().ParseUnverified(parameter(t, callback, "state"), &claims); err != nil {
				t.Fatal(err)
			}
			p := b.get(edit(t, callback, "state", c.forge(claims)))
			switch c.code {
			case "":
				if len(st.signedIn) != 1 {
					t.Errorf("got %d %s, want a sign-in", p.status, p.body)
				}
			case flyext.CodeUnknownHandshake:
				st.wantRefusal(p, http.StatusForbidden, c.code)
			default:
				st.wantRefusal(p, http.StatusBadRequest, c.code)
			}
		})
	}
}

func sign(t testing.TB, method jwt.SigningMethod, key any, claims jwt.MapClaims) string {
	t.Helper()
	s, err := jwt.NewWithClaims(method, claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// with signs the claims with the genuine key and one claim changed. A nil value
// removes the claim.
func with(t testing.TB, name string, value any) func(jwt.MapClaims) string {
	return func(claims jwt.MapClaims) string {
		claims[name] = value
		if value == nil {
			delete(claims, name)
		}
		return sign(t, jwt.SigningMethodHS256, []byte(ssoStateKey), claims)
	}
}

// A change of any byte of the state is detected. This includes the unused bits of the
// last base64 digit, so that a signature has only one spelling.
func TestStateTampered(t *testing.T) {
	t.Parallel()
	st := newSSOTest(t)
	b := st.browser()
	callback := b.authorize(b.begin("x1"))
	state := parameter(t, callback, "state")
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for i := range state {
		changed := []byte(state)
		if state[i] == '.' {
			changed[i] = 'A'
		} else { // this digit differs in the lowest bit
			changed[i] = alphabet[strings.IndexByte(alphabet, state[i])^1]
		}
		p := b.get(edit(t, callback, "state", string(changed)))
		if p.status != http.StatusBadRequest || p.code != flyext.CodeInvalidState {
			t.Errorf("byte %d: got %d %s", i, p.status, p.body)
		}
	}
	st.wantNoSignIn()
}

func TestCallbackQuery(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(callback string) string
		status int
		code   string
	}{
		"no parameters":           {func(string) string { return ssoBase + "/callback" }, 400, flyext.CodeInvalidState},
		"no state":                {func(s string) string { return edit(t, s, "state") }, 400, flyext.CodeInvalidState},
		"empty state":             {func(s string) string { return edit(t, s, "state", "") }, 400, flyext.CodeInvalidState},
		"two states":              {func(s string) string { return s + "&state=x" }, 400, flyext.CodeInvalidState},
		"bad escape in the state": {func(s string) string { return edit(t, s, "state") + "&state=%zz" }, 400, flyext.CodeInvalidState},
		"no code":                 {func(s string) string { return edit(t, s, "code") }, 400, flyext.CodeMissingCode},
		"empty code":              {func(s string) string { return edit(t, s, "code", "") }, 400, flyext.CodeMissingCode},
		"a code that is too long": {func(s string) string { return edit(t, s, "code", strings.Repeat("x", 2049)) }, 400, flyext.CodeMissingCode},
		"two codes":               {func(s string) string { return s + "&code=x" }, 400, flyext.CodeMissingCode},
		"unknown code":            {func(s string) string { return edit(t, s, "code", "x") }, 403, flyext.CodeInvalidGrant},
		"cancelled":               {func(s string) string { return edit(t, edit(t, s, "code"), "error", "access_denied") }, 403, flyext.CodeAccessDenied},
		"Fly.io failed":           {func(s string) string { return edit(t, edit(t, s, "code"), "error", "server_error") }, 502, flyext.CodeFlyUnavailable},
		"unknown error code": {func(s string) string { return edit(t, edit(t, s, "code"), "error", "<script>x</script>") },
			502, flyext.CodeFlyUnavailable},
		"error next to a code": {func(s string) string { return edit(t, s, "error", "access_denied") }, 403, flyext.CodeAccessDenied},
		"empty error":          {func(s string) string { return edit(t, s, "error", "") }, 502, flyext.CodeFlyUnavailable},
		"error, foreign state": {func(s string) string { return edit(t, edit(t, s, "state", "x"), "error", "access_denied") },
			400, flyext.CodeInvalidState},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := newSSOTest(t)
			b := st.browser()
			p := b.get(c.change(b.authorize(b.begin("x1"))))
			st.wantRefusal(p, c.status, c.code)
			if strings.Contains(p.body+st.logged(), "script") {
				t.Errorf("the text of the query is shown or logged: %s, %s", p.body, st.logged())
			}
		})
	}
}

// A handshake whose state would be too long for the callback is not started.
func TestStateTooLongToBegin(t *testing.T) {
	t.Parallel()
	st := newSSOTest(t)
	long := strings.Repeat("x", 4000)
	st.move(long, "o1")
	p := st.browser().get(ssoBase + "/extensions/" + long + "/sso")
	if p.status != http.StatusNotFound || p.header.Get("Location") != "" || strings.Contains(st.logged(), "ERROR") {
		t.Errorf("got %d to %q, log %s", p.status, p.location(), st.logged())
	}
}

// A state of 4096 bytes is accepted. A longer one is neither started nor accepted.
func TestLongestState(t *testing.T) {
	t.Parallel()
	st := newSSOTest(t)
	b := st.browser()
	organization, longest := "", ""
	for n := 2700; ; n++ {
		st.move("x1", strings.Repeat("o", n))
		p := b.get(ssoBase + "/extensions/x1/sso")
		if p.status != http.StatusFound {
			if p.status != http.StatusInternalServerError || len(p.header["Set-Cookie"]) > 0 || !strings.Contains(st.logged(), "state is too long") {
				t.Errorf("a state that is too long: got %d %s, log %s", p.status, p.body, st.logged())
			}
			break
		}
		organization, longest = strings.Repeat("o", n), p.location()
	}
	if n := len(parameter(t, longest, "state")); n != 4096 {
		t.Fatalf("the longest state has %d bytes, want 4096", n)
	}
	st.move("x1", organization)
	st.fly.organizations = []map[string]string{{"id": organization, "role": "admin"}}
	callback := b.authorize(longest)
	var claims jwt.MapClaims
	if _, _, err := jwt.NewParser().ParseUnverified(parameter(t, callback, "state"), &claims); err != nil {
		t.Fatal(err)
	}
	claims["org"] = organization[100:]
	longer := ""
	for n := 0; len(longer) != 4097; n++ {
		longer = with(t, "p", strings.Repeat("x", n))(claims)
	}
	st.move("x1", organization[100:])
	st.fly.organizations = append(st.fly.organizations, map[string]string{"id": organization[100:], "role": "admin"})
	st.wantRefusal(b.get(edit(t, callback, "state", longer)), http.StatusBadRequest, flyext.CodeInvalidState)
	st.move("x1", organization)
	if b.get(callback); len(st.signedIn) != 1 {
		t.Errorf("no sign-in with the longest state: %s", st.logged())
	}
}

// No parameter or header of a request changes the target of a redirect.
func TestOpenRedirect(t *testing.T) {
	t.Parallel()
	st := newSSOTest(t)
	b := st.browser()
	query := "redirect_uri=https://evil.example&return_to=//evil.example&next=//evil.example&url=//evil.example&state=evil.example"
	p := b.get(ssoBase + "/extensions/x1/sso?" + query)
	if strings.Contains(p.location(), "evil") || !strings.HasPrefix(p.location(), "https://api.fly.io/oauth/authorize?") {
		t.Errorf("sso redirects to %s", p.location())
	}
	p = b.get(b.authorize(p.location()) + "&" + strings.TrimSuffix(query, "&state=evil.example"))
	if p.location() != "/streams/x1" {
		t.Errorf("callback redirects to %s", p.location())
	}
	for _, id := range []string{"//evil.example", `\\evil.example`, "https://evil.example"} {
		p := b.get(ssoBase + "/extensions/" + url.PathEscape(id) + "/sso")
		if p.status != http.StatusNotFound || p.location() != "" {
			t.Errorf("%s: got %d to %q", id, p.status, p.location())
		}
	}

	r, _ := http.NewRequestWithContext(t.Context(), "GET", ssoBase+"/extensions/x1/sso", nil)
	r.Header = http.Header{"X-Forwarded-Host": {"evil.example"}, "X-Forwarded-Proto": {"http"}, "Referer": {"https://evil.example"}}
	answer, err := st.world.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	if to := answer.Header.Get("Location"); strings.Contains(to, "evil") {
		t.Errorf("a header changed the target of the redirect: %s", to)
	}
}
