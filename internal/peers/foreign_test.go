package peers_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/flyext/flyext/internal/programtest"
)

// A question is the input of a script that uses a library in another language.
type question struct {
	Peer     string            `json:"peer,omitempty"`
	Header   string            `json:"header,omitempty"`
	Key      map[string]string `json:"key"`
	Messages []message         `json:"messages"`
}

// ask runs a script that verifies messages with a given version of a library.
func ask(t *testing.T, version string, q question, program string, args ...string) []verdict {
	t.Helper()
	q.Key = map[string]string{"id": key.ID, "secret": key.Secret}
	input, err := json.Marshal(q)
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), &stderr
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, &stderr)
	}
	var answer struct {
		Version  string
		Verdicts []verdict
	}
	if err := json.Unmarshal(output, &answer); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, output)
	}
	if answer.Version != version {
		t.Errorf("the library has version %s, want %s", answer.Version, version)
	}
	return answer.Verdicts
}

// npm verifies with a library that is installed in testdata/npm.
func npm(name, version string) func(*testing.T, []message) []verdict {
	return func(t *testing.T, messages []message) []verdict {
		const dir = "testdata/npm"
		if _, err := exec.LookPath("node"); err != nil {
			programtest.Missing(t, "needs Node.js 20 or later, and then: npm ci --prefix internal/peers/"+dir)
		}
		if _, err := os.Stat(filepath.Join(dir, "node_modules")); err != nil {
			programtest.Missing(t, "needs the libraries: npm ci --prefix internal/peers/"+dir)
		}
		return ask(t, version, question{Peer: name, Messages: messages}, "node", filepath.Join(dir, "verify.js"))
	}
}

func TestNPMHTTPSignature(t *testing.T) {
	t.Parallel()
	const name, version = "http-signature", "1.4.0"
	peer{
		name: "npm " + name + " " + version, verify: npm(name, version),
		forms: []form{
			cavage, cavageDigest, cavageTwice, cavageCreated,
			cavageFormat.but("it requires its own scheme in Authorization"),
		},
	}.test(t)
	peer{
		name: "npm " + name + " " + version + " with authorizationHeaderName", verify: npm(name+" in Signature", version),
		forms: []form{cavage, cavageDigest, cavageTwice, cavageCreated, cavageFormat},
	}.test(t)
}

func TestNPMHTTPMessageSignatures(t *testing.T) {
	t.Parallel()
	const name, version = "http-message-signatures", "1.0.6"
	peer{
		name: "npm " + name + " " + version, verify: npm(name, version),
		forms: []form{rfc9421, rfc9421Format, draft05, expires, withoutTag, pathAndQuery},
	}.test(t)
	peer{
		name: "npm " + name + " " + version + " cavage", verify: npm(name+" cavage", version),
		forms: []form{cavage, cavageFormat, cavageDigest, cavageTwice, cavageCreated},
	}.test(t)
}

func TestNPMHTTPMessageSig(t *testing.T) {
	t.Parallel()
	const name, version = "http-message-sig", "0.3.0"
	peer{
		name: "npm " + name + " " + version, verify: npm(name, version),
		forms: []form{rfc9421, rfc9421Format, draft05, expires, withoutTag, pathAndQuery},
	}.test(t)
}

// python returns the path of a Python that has httpsig, or "". The packages of
// Debian are only in Debian's Python.
var python = sync.OnceValue(func() string {
	for _, name := range []string{"/usr/bin/python3", "python3"} {
		if exec.Command(name, "-c", "import httpsig").Run() == nil {
			return name
		}
	}
	return ""
})

func TestPythonHTTPSig(t *testing.T) {
	t.Parallel()
	const version = "1.3.0"
	verify := func(header string) func(*testing.T, []message) []verdict {
		return func(t *testing.T, messages []message) []verdict {
			if python() == "" {
				programtest.Missing(t, "needs python-httpsig: apt-get install python3-httpsig, or pip install httpsig=="+version)
			}
			return ask(t, version, question{Header: header, Messages: messages}, python(), "testdata/python/verify.py")
		}
	}
	peer{
		name: "python-httpsig " + version + " in Authorization", verify: verify("authorization"),
		forms: []form{
			cavageTwice,
			cavage.but("it is not configured for the field Signature"), cavageFormat.but("it is not configured for the field Signature"),
		},
	}.test(t)
	peer{
		name: "python-httpsig " + version + " in Signature", verify: verify("signature"),
		forms: []form{cavage, cavageFormat, cavageDigest, cavageTwice, cavageCreated.but("it does not know (created)")},
	}.test(t)
}
