package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/flyext/flyext/flytest"
)

// TestMain lets a test start flysim as a process: the test's own binary.
func TestMain(m *testing.M) {
	// httptest.Server.Close must not close idle connections of tests in parallel.
	http.DefaultTransport = struct{ http.RoundTripper }{http.DefaultTransport}
	if os.Getenv("FLYSIM_TEST_PROCESS") != "" {
		main()
	}
	status, err := 1, error(nil)
	if buildDir, err = os.MkdirTemp("", "flysim-"); err == nil {
		status = m.Run()
		err = os.RemoveAll(buildDir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

// process returns flysim as a process, with an environment of its own.
func process(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(env, "FLYSIM_TEST_PROCESS=1", "FLYIO_SIGNING_SECRET="+signingSecret)
	return cmd
}

func TestExitStatus(t *testing.T) {
	t.Parallel()
	good := newTerminal((&memory{}).serve(t, "", 0))
	silent := newTerminal("http://" + freeAddr(t) + "/flyio")
	failing := newTerminal(serveStatus(t, http.StatusInternalServerError, "out of order"))
	moved := newTerminal(serveStatus(t, http.StatusPermanentRedirect, ""))
	for name, c := range map[string]struct {
		term   *terminal
		args   string
		status int
		stderr string
	}{
		"help":                     {good, "--help", 0, ""},
		"nothing":                  {good, "", 0, ""},
		"help of a command":        {good, "check --help", 0, ""},
		"provision":                {good, "provision", 0, "is ready"},
		"list":                     {good.with("FLYSIM_BASE_URL", "-", "FLYIO_SIGNING_SECRET", "-"), "check --list", 0, ""},
		"refused":                  {good.with("FLYIO_SIGNING_SECRET", "another secret"), "provision", 1, "answered with 401 Unauthorized (unauthenticated)"},
		"refused, with a hint":     {good.with("FLYIO_SIGNING_SECRET", "another secret"), "fetch x", 1, "its base URL with " + good.env["FLYSIM_BASE_URL"]},
		"no token":                 {good.with("FLYIO_BEARER_TOKEN", "-"), "fetch x --generation 1", 1, "FLYIO_BEARER_TOKEN is not set"},
		"not there":                {good, "fetch nosuch", 1, "There is no such stream."},
		"failing":                  {failing, "provision", 1, "500 Internal Server Error"},
		"failing check":            {failing, "check", 1, ""},
		"command":                  {good, "chek", 2, `there is no command "chek"; did you mean check?`},
		"flag":                     {good, "check --nosuch", 2, "there is no flag --nosuch"},
		"argument":                 {good, "check x", 2, "takes the base URL"},
		"no id":                    {good, "fetch", 2, "which extension?"},
		"two ids":                  {good, "fetch a b", 2, "takes one id, and there are 2"},
		"no provider":              {good.with("FLYSIM_BASE_URL", "-"), "check", 2, "which provider?"},
		"no secret":                {good.with("FLYIO_SIGNING_SECRET", "-"), "check", 2, "which secret"},
		"empty secret":             {good.with("FLYIO_SIGNING_SECRET", " "), "check", 2, "FLYIO_SIGNING_SECRET is set, but empty"},
		"empty flag":               {good, "check --signing-secret=", 2, "--signing-secret is empty"},
		"URL":                      {good, "check --base-url logjam.io", 2, "no http or https URL"},
		"URL with a user":          {good, "check --base-url http://me:password@logjam.io", 2, "has a user"},
		"format":                   {good, "check --format hmac", 2, `unknown format "hmac"`},
		"generation":               {good, "check --generation 3", 2, "there are the generations 1 and 2"},
		"contradiction":            {good, "check --generation 1 --format x-signature", 2, "x-signature is of generation 2, and --generation says 1"},
		"the other contradiction":  {good, "check --generation 2 --format cavage", 2, "cavage is of generation 1, and --generation says 2"},
		"useless token":            {good, "check --bearer-token x", 2, "--bearer-token goes with generation 1"},
		"useless key id":           {good, "check --key-id x", 2, "--key-id goes with generation 1"},
		"half a client":            {good.with("FLYIO_CLIENT_ID", "x"), "check", 2, "one is set and the other is not"},
		"no client":                {good, "sso x", 2, "needs the OAuth client"},
		"timeout":                  {good, "check --timeout 0s", 2, "--timeout"},
		"patience":                 {good, "check --patience 0s", 2, "--patience"},
		"requirement":              {good, "check --only nosuch", 2, `there is no requirement "nosuch"`},
		"file of variables":        {good, "check --env-file nosuch", 2, "nosuch: no such file"},
		"file of members":          {good, "provision --params nosuch", 2, "nosuch: no such file"},
		"members":                  {good, "provision --params -", 2, "standard input holds no JSON object"},
		"option":                   {good, "provision --option plan", 2, "key=value"},
		"option twice":             {good, "provision --option a=1 --option a=2", 2, `"a" is set twice`},
		"option of a flag":         {good, "provision --option name=x", 2, `"name" is --name's to set`},
		"option of the signature":  {good, "provision --option nonce=x", 2, "a parameter of the signature"},
		"address":                  {good, "provision --ip 10.0.0.1", 2, "no IPv6 address"},
		"no change":                {good, "update x", 2, "what is to change?"},
		"regions and none":         {good, "update x --read-region fra --no-read-regions", 2, "cannot both be"},
		"set and unset":            {good, "update x --option a=1 --unset a", 2, "set as well"},
		"name twice":               {good, "update x --name a --option name=b", 2, `"name" is set twice`},
		"event mode":               {good, "event --mode carrier-pigeon", 2, "there are binary, structured and batched"},
		"event batch":              {good, "event --mode batched", 2, "a batch is an array. Send --mode structured"},
		"event of a list":          {good, "event --data []", 2, "in binary mode is the data"},
		"event of the signature":   {good, `event --data {"nonce":"x"}`, 2, `already has a "nonce"`},
		"event of no JSON":         {good, "event --data x", 2, "--data: it is no JSON"},
		"event of a file":          {good, "event --data @nosuch", 2, "nosuch: no such file"},
		"event of two minds":       {good, "event --data {} --machine x", 2, "--data is all of the data"},
		"no event":                 {good, "event --count 0", 2, "--count is 1 to"},
		"events of one id":         {good, "event --count 2 --id x", 2, "there is --again"},
		"event without a type":     {good, "event --type=", 2, "may not be empty"},
		"event and argument":       {good, "event x", 2, "takes flags only"},
		"silent event":             {silent, "event --json", 3, "connection refused"},
		"webhooks open to all":     {good.with("FLYIO_WEBHOOK_SECRET", "x"), "check --webhook-addr 0.0.0.0:0", 2, "loopback only"},
		"webhooks of no secret":    {good, "check --webhook-addr 127.0.0.1:0", 2, "which secret signs the webhooks?"},
		"empty webhook secret":     {good.with("FLYIO_WEBHOOK_SECRET", " "), "serve", 2, "FLYIO_WEBHOOK_SECRET is set, but empty"},
		"sign-on of the page":      {good, "serve --sso-generation 3", 2, "--sso-generation 3: there are the generations 1 and 2"},
		"JUnit":                    {good, "check --junit nosuch/x.xml", 2, "no such file"},
		"open to all":              {good, "serve --addr 0.0.0.0:4000", 2, "loopback only"},
		"open to all, by name":     {good, "serve --addr logjam.io:4000", 2, "loopback only"},
		"open to all, by default":  {good, "serve --addr :4000", 2, "loopback only"},
		"page for a machine":       {good, "serve --json", 2, "--json is for other commands"},
		"page in a terminal":       {good, "serve -v", 2, "--verbose is for other commands"},
		"redirect":                 {moved, "fetch x", 1, "Fly.io follows no redirect"},
		"too many headers":         {newTerminal(serveHangUp(t, "HTTP/1.1 200 OK\r\n"+strings.Repeat("A: b\r\n", 20_000)+"\r\n")), "fetch x", 3, "headers exceeded 65536 bytes"},
		"no address":               {good, "serve --addr 4000", 2, "no address"},
		"sign-on open to all":      {good.with("FLYIO_CLIENT_ID", "x", "FLYIO_CLIENT_SECRET", "y"), "sso x --oauth-addr 0.0.0.0:0", 2, "loopback only"},
		"nobody":                   {good.with("FLYIO_CLIENT_ID", "x", "FLYIO_CLIENT_SECRET", "y"), "sso x --as nobody", 2, "--as is"},
		"silent":                   {silent, "provision", 3, "no answer from " + silent.env["FLYSIM_BASE_URL"]},
		"silent check":             {silent, "check", 3, "connection refused"},
		"silent check for machine": {silent, "check --json", 3, "connection refused"},
		"too slow":                 {newTerminal(serveNothing(t)), "fetch x --timeout 50ms", 3, "none within 50ms (--timeout)"},
		"hangs up":                 {newTerminal(serveHangUp(t, "")), "fetch x", 3, "closed the connection"},
		"hangs up amid the answer": {newTerminal(serveHangUp(t, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")), "fetch x", 3, "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // for one that serves where it must not
			defer cancel()
			got := c.term.runUntil(ctx, strings.Fields(c.args)...).want(t, c.status)
			if !strings.Contains(words(got.stderr), c.stderr) {
				t.Errorf("%q is not in:\n%s", c.stderr, got.stderr)
			}
			narrow(t, got.stderr)
			if c.status >= 2 && !strings.Contains(c.args, "--json") && got.stdout != "" {
				t.Errorf("standard output is %q", got.stdout)
			}
		})
	}
}

// narrow fails the test if a line is wider than a terminal. flyctl's own words
// are as long as flyctl prints them.
func narrow(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 && !strings.Contains(line, "See details and next steps with:") {
			t.Errorf("a line is %d columns wide: %s", n, line)
		}
	}
}

// serveStatus serves one answer to everything.
func serveStatus(t *testing.T, status int, body string) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// serveNothing accepts connections and says nothing.
func serveNothing(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return "http://" + listener.Addr().String()
}

// serveHangUp sends a text to everybody and hangs up.
func serveHangUp(t *testing.T, text string) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			io.WriteString(conn, text)
			conn.Close()
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestHelpIsNarrow(t *testing.T) {
	t.Parallel()
	p := &program{}
	commands := p.rootCommand().Commands()
	if len(commands) < 8 {
		t.Fatalf("there are %d commands", len(commands))
	}
	for _, cmd := range append([]*cobra.Command{{Use: "--help"}}, commands...) {
		got := newTerminal("").run(t, cmd.Name(), "--help").want(t, 0)
		narrow(t, got.stdout)
		contains(t, got.stdout, "Usage:\n  flysim ", "FLYIO_SIGNING_SECRET")
		if got.stderr != "" {
			t.Errorf("standard error is %q", got.stderr)
		}
	}
	contains(t, newTerminal("").run(t, "--help").stdout, exitCodes, secretsHelp)
	contains(t, newTerminal("").run(t, "check", "--help").stdout, exitCodes)
}

// Flags win over the environment, and the environment over the file.
func TestPrecedence(t *testing.T) {
	t.Parallel()
	good := newTerminal((&memory{}).serve(t, "", 0))
	file := func(secret string) string {
		name := filepath.Join(t.TempDir(), "secrets.env")
		text := "# a comment\nFLYIO_SIGNING_SECRET='" + secret + "'\nFLYSIM_BASE_URL=" + good.env["FLYSIM_BASE_URL"] + "\n"
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	const wrong = "another secret"
	for name, c := range map[string]struct {
		flag, env, file string
		status          int
	}{
		"file":                       {file: signingSecret},
		"environment":                {env: signingSecret},
		"flag":                       {flag: signingSecret},
		"environment over file":      {env: signingSecret, file: wrong},
		"environment over file, bad": {env: wrong, file: signingSecret, status: 1},
		"flag over both":             {flag: signingSecret, env: wrong, file: wrong},
		"flag over both, bad":        {flag: wrong, env: signingSecret, file: signingSecret, status: 1},
		"file without the secret":    {env: signingSecret, file: ""},
		"empty in the environment":   {env: " ", file: signingSecret, status: 2},
		"empty in the file":          {file: " ", status: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			term, args := good.with("FLYIO_SIGNING_SECRET", "-"), []string{"provision"}
			if c.flag != "" {
				args = append(args, "--signing-secret", c.flag)
			}
			if c.env != "" {
				term.env["FLYIO_SIGNING_SECRET"] = c.env
			}
			if c.file != "" {
				delete(term.env, "FLYSIM_BASE_URL")
				args = append(args, "--env-file", file(c.file))
			}
			term.run(t, args...).want(t, c.status)
		})
	}
}

// No error may have a secret, whichever way it was given.
func TestErrorsHoldNoSecrets(t *testing.T) {
	t.Parallel()
	good := (&memory{}).serve(t, "", 0)
	echo := serveStatus(t, http.StatusInternalServerError, "no "+signingSecret+" or "+bearerToken+" or "+clientSecret+" or "+webhookSecret)
	told := serveStatus(t, http.StatusBadRequest, `{"error": "`+bearerToken+`", "message": "`+signingSecret+`"}`)
	file := filepath.Join(t.TempDir(), "secrets.env")
	if err := os.WriteFile(file, []byte("FLYIO_SIGNING_SECRET="+signingSecret+"\n"+signingSecret+" !\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	client := []string{"FLYIO_CLIENT_ID", clientID, "FLYIO_CLIENT_SECRET", clientSecret, "FLYIO_WEBHOOK_SECRET", webhookSecret}
	for name, c := range map[string]struct {
		url  string
		args []string
	}{
		"one dash":            {good, []string{"check", "-signing-secret=" + signingSecret}},
		"one dash and space":  {good, []string{"check", "-signing-secret", signingSecret}},
		"wrong flag":          {good, []string{"check", "--singing-secret=" + signingSecret}},
		"argument":            {good, []string{"check", signingSecret}},
		"file":                {good, []string{"check", "--env-file", file}},
		"echo":                {echo, []string{"provision"}},
		"echo, JSON":          {echo, []string{"provision", "--json"}},
		"echo, shown":         {echo, []string{"provision", "-v"}},
		"message":             {told, []string{"provision"}},
		"message, JSON":       {told, []string{"provision", "--json"}},
		"message of fetch":    {told, []string{"fetch", "x", "--json"}},
		"event":               {told, []string{"event"}},
		"event, JSON":         {told, []string{"event", "--json"}},
		"event, shown":        {echo, []string{"event", "-v"}},
		"webhook secret":      {good, []string{"check", "-webhook-secret=" + webhookSecret}},
		"check":               {told, []string{"check"}},
		"check, JSON":         {told, []string{"check", "--json"}},
		"check, shown":        {told, []string{"check", "--verbose", "--generation", "1"}},
		"sign-on":             {told, []string{"sso", "x", "--oauth-addr", "127.0.0.1:0"}},
		"refused, shown":      {good, []string{"fetch", "x", "-v", "--generation", "1", "--key-id", "other"}},
		"base URL of secrets": {good, []string{"check", "--base-url", "http://x:" + signingSecret + "@logjam.io:port/"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := newTerminal(c.url).with(client...).run(t, c.args...)
			if got.status == 0 {
				t.Error("the exit status is 0")
			}
			for _, secret := range []string{signingSecret, bearerToken, clientSecret, webhookSecret} {
				if strings.Contains(strings.Join(strings.Fields(got.stdout+got.stderr), ""), secret) {
					t.Errorf("%q is in:\n%s%s", secret, got.stdout, got.stderr)
				}
			}
		})
	}
}

// The environment's proxy would get to know every request and its answer.
func TestNoProxy(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 10)
	proxy := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.URL.String() }))
	defer proxy.Close()
	env := []string{"http_proxy=" + proxy.URL, "HTTP_PROXY=" + proxy.URL, "https_proxy=" + proxy.URL, "all_proxy=" + proxy.URL}
	for _, args := range [][]string{{"check"}, {"provision"}} {
		cmd := process(t, env, append(args, "--base-url", "http://provider.invalid/flyio")...)
		text, _ := cmd.CombinedOutput()
		if status := cmd.ProcessState.ExitCode(); status != 3 {
			t.Errorf("%v: the exit status is %d, want 3\n%s", args, status, text)
		}
	}
	select {
	case url := <-asked:
		t.Errorf("the proxy was asked for %s", url)
	default:
	}
}

func TestInterrupt(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"amid a request": {"provision"},
		"amid a check":   {"check"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := make(chan struct{}, 10)
			server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				asked <- struct{}{}
				io.Copy(io.Discard, r.Body) // the server notices only then that the client is gone
				<-r.Context().Done()
			}))
			defer server.Close()
			cmd := process(t, nil, append(args, "--base-url", server.URL)...)
			var stderr strings.Builder
			cmd.Stderr = &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			<-asked
			if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			cmd.Wait()
			if status := cmd.ProcessState.ExitCode(); status != 130 || stderr.String() != "flysim: interrupted\n" {
				t.Errorf("the exit status is %d, want 130\n%s", status, stderr.String())
			}
		})
	}
}

// serving starts flysim serve, waits until it answers, and returns how it ends.
func serving(t *testing.T, term *terminal, addr string, args ...string) (stop func() output) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan output, 1)
	go func() { ended <- term.runUntil(ctx, append([]string{"serve", "--addr", addr}, args...)...) }()
	for {
		answer, err := http.Get("http://" + addr + "/")
		if err == nil {
			answer.Body.Close()
			break
		}
		select {
		case got := <-ended:
			t.Fatalf("it ended with %d\n%s", got.status, got.stderr)
		case <-time.After(5 * time.Millisecond):
		}
	}
	stop = sync.OnceValue(func() output {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { stop() })
	return stop
}

func TestServe(t *testing.T) {
	t.Parallel()
	term := newTerminal((&memory{}).serve(t, "", 0)).with("FLYIO_CLIENT_ID", clientID, "FLYIO_CLIENT_SECRET", clientSecret)
	addr := freeAddr(t)
	stop := serving(t, term, addr)
	term.run(t, "serve", "--addr", addr).want(t, 2)
	got := stop().want(t, 130)
	contains(t, got.stdout, "Fly.io is at http://"+addr+".")
	if strings.Contains(got.stdout, "Webhooks") {
		t.Errorf("it has no webhook secret, and says:\n%s", got.stdout)
	}
}

// fetched returns a page of what serves.
func fetched(t *testing.T, url string) string {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What the settings say is what the page does.
func TestServeSettings(t *testing.T) {
	t.Parallel()
	m := &memory{}
	base := m.serve(t, "", 0)
	term := newTerminal(base).with("FLYIO_CLIENT_ID", clientID, "FLYIO_CLIENT_SECRET", clientSecret, "FLYIO_WEBHOOK_SECRET", webhookSecret)
	addr := freeAddr(t)
	m.telling(t, webhookSecret, "http://"+addr+"/webhooks")
	stop := serving(t, term, addr, "--sso-generation", "1")
	contains(t, fetched(t, "http://"+addr+"/users"), "&#34;permission&#34;:&#34;admin&#34;") // the scope of generation 1
	term.run(t, "provision", "--id", "told").want(t, 0)
	contains(t, fetched(t, "http://"+addr+"/webhooks"), "resource.updated, with the status “ready”", "About <bdi>told</bdi>")
	contains(t, stop().want(t, 130).stdout, "Webhooks go to http://"+addr+"/webhooks.")
}

// A page that is open, and a request under way, end as they should: Ctrl-C waits
// for the answer, and not for the page.
func TestServeEnds(t *testing.T) {
	t.Parallel()
	asked, answer := make(chan struct{}), make(chan struct{})
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(asked)
		<-answer
		io.WriteString(w, `{"id":"x","config":{}}`)
	}))
	defer provider.Close()
	addr := freeAddr(t)
	stop := serving(t, newTerminal(provider.URL), addr)
	live, err := http.Get("http://" + addr + "/live")
	if err != nil {
		t.Fatal(err)
	}
	defer live.Body.Close()
	posted := make(chan error, 1)
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	go func() {
		answer, err := client.PostForm("http://"+addr+"/extensions", url.Values{"id": {"x"}})
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode != http.StatusSeeOther {
				err = errors.New(answer.Status)
			}
		}
		posted <- err
	}()
	<-asked
	ended := make(chan output, 1)
	go func() { ended <- stop() }()
	io.Copy(io.Discard, live.Body) // the page's stream ends first
	close(answer)
	if err := <-posted; err != nil {
		t.Error(err)
	}
	(<-ended).want(t, 130)
}

func TestSlowAnswer(t *testing.T) {
	t.Parallel()
	p := &program{err: newPage(&strings.Builder{}, os.LookupEnv)}
	p.baseURL, p.signingSecret, p.format = "http://logjam.io", "x", flytest.FormatXSignature
	fly, err := p.platform()
	if err != nil {
		t.Fatal(err)
	}
	fly.Observe(flytest.Exchange{Duration: 4900 * time.Millisecond})
	if text := p.err.w.(*strings.Builder).String(); text != "" {
		t.Errorf("4.9 seconds are too long: %s", text)
	}
	fly.Observe(flytest.Exchange{Duration: 6200 * time.Millisecond})
	contains(t, words(p.err.w.(*strings.Builder).String()), "That took 6.2s. Fly.io waits 5s")
}
