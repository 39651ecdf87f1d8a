package service

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestOnce(t *testing.T) {
	t.Parallel()
	db := dbPath(t)
	for range 2 { // the second time with the streams of the first
		cmd := command(t, []string{"TERM=xterm-256color"}, "-once", "-db", db)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		output, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v\n%s", err, &stderr)
		}
		for line := range strings.Lines(stderr.String()) {
			if !strings.Contains(line, `msg="slow call"`) { // a slow machine logs it
				t.Errorf("the demo wrote to stderr: %s", line)
			}
		}
		text := string(output)
		if strings.Contains(text, "\x1b") {
			t.Error("the output has escape codes, but stdout is not a terminal")
		}
		for line := range strings.Lines(text) {
			if length := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); length > columns {
				t.Errorf("a line has %d columns, want at most %d: %s", length, columns, line)
			}
		}
		// These texts come in this order. Line breaks do not matter.
		text = strings.Join(strings.Fields(text), " ")
		for _, want := range []string{
			"POST /flyio/extensions", "X-Signature: ", "200 OK", `"LOGJAM_URL": "https://`, // provisioned
			"200 OK", `"LOGJAM_URL": "https://`, // again
			"401 Unauthorized", "message was used before", // replayed
			"PATCH /flyio/extensions/", `"plan": "pro"`, "200 OK", // updated
			"401 Unauthorized", "MAC does not", // forged
			"GET /flyio/extensions/", "200 OK", `"status": "ready"`, // fetched
			"DELETE /flyio/extensions/", "200 OK", "410 Gone", // deprovisioned
			"/sso", "302 Found", "Location: http://localhost:", "code_challenge_method=S256", // dashboard
			"What to run next", "FLYIO_SIGNING_SECRET=",
		} {
			_, rest, found := strings.Cut(text, want)
			if !found {
				t.Fatalf("%q is missing or out of order in:\n%s", want, output)
			}
			text = rest
		}
	}
}

// TestDemoLeadsToDashboard follows the link that the demo prints at its end.
// TestBrowserSignsIn does the same in a browser.
func TestDemoLeadsToDashboard(t *testing.T) {
	t.Parallel()
	for addr, signOn := range map[string]string{"127.0.0.1:0": "localhost", "localhost:0": "127.0.0.1"} {
		t.Run(addr, func(t *testing.T) {
			t.Parallel()
			cmd := command(t, nil, "-addr", addr)
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
			link := ""
			for lines := bufio.NewScanner(stdout); link == "" && lines.Scan(); {
				if text := strings.TrimSpace(lines.Text()); strings.HasPrefix(text, "http://") && strings.HasSuffix(text, "/sso") {
					link = text
				}
			}
			go io.Copy(io.Discard, stdout)

			jar, err := cookiejar.New(nil)
			if err != nil {
				t.Fatal(err)
			}
			browser := &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}}
			visit := func(page *http.Response, err error) (*url.URL, string) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
				defer page.Body.Close()
				text, err := io.ReadAll(page.Body)
				if err != nil || page.StatusCode != http.StatusOK {
					t.Fatalf("got %s %s, %v", page.Status, text, err)
				}
				return page.Request.URL, string(text)
			}
			at, _ := visit(browser.Get(link))
			if at.Hostname() != signOn {
				t.Errorf("the simulated sign-on is at %s, want %s: its host must differ from Logjam's", at.Hostname(), signOn)
			}
			choice := url.Values{"action": {"sign-in"}, "user": {order().UserID}}
			if _, text := visit(browser.PostForm(at.String(), choice)); !strings.Contains(text, "shop-prod") || !strings.Contains(text, "Supercollider") {
				t.Errorf("the dashboard does not show the stream and its organization:\n%s", text)
			}
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("after the interrupt the process exited with %v", err)
			}
		})
	}
}
