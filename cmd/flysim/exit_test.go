package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/flyext/flyext/internal/servertest"
)

func TestExitStatus(t *testing.T) {
	t.Parallel()
	good := newTerminal((&memory{}).serve(t, "", 0))
	silent := newTerminal("http://" + servertest.FreeAddr(t) + "/flyio")
	failing := newTerminal(serveStatus(t, http.StatusInternalServerError, "out of order"))
	moved := newTerminal(serveStatus(t, http.StatusPermanentRedirect, ""))
	for name, c := range map[string]struct {
		term   *terminal
		args   string
		status int
		stderr string
	}{
		"help":                       {good, "--help", 0, ""},
		"nothing":                    {good, "", 0, ""},
		"help of a command":          {good, "check --help", 0, ""},
		"help of all flags":          {good, "check --help-all", 0, ""},
		"help as a command":          {good, "help", 0, ""},
		"help about a command":       {good, "help check", 0, ""},
		"help with wrong settings":   {good.with("FLYSIM_BASE_URL", "x", "FLYIO_SIGNING_SECRET", " "), "check x y --help-all", 0, ""},
		"help about no command":      {good, "help chek", 2, `unknown command "chek"; did you mean check?`},
		"help about two commands":    {good, "help check event", 2, "too many arguments"},
		"provision":                  {good, "provision", 0, "is ready"},
		"list":                       {good.with("FLYSIM_BASE_URL", "-", "FLYIO_SIGNING_SECRET", "-"), "check --list", 0, ""},
		"refused":                    {good.with("FLYIO_SIGNING_SECRET", "another secret"), "provision", 1, "answered with 401 Unauthorized (unauthenticated)"},
		"refused, with a hint":       {good.with("FLYIO_SIGNING_SECRET", "another secret"), "fetch x", 1, "its base URL with " + good.env["FLYSIM_BASE_URL"]},
		"no token":                   {good.with("FLYIO_BEARER_TOKEN", "-"), "fetch x --generation 1", 1, "FLYIO_BEARER_TOKEN is not set"},
		"not there":                  {good, "fetch nosuch", 1, "There is no such stream."},
		"failing":                    {failing, "provision", 1, "500 Internal Server Error"},
		"failing check":              {failing, "check", 1, ""},
		"command":                    {good, "chek", 2, `unknown command "chek"; did you mean check?`},
		"flag":                       {good, "check --nosuch", 2, "unknown flag --nosuch; flysim check --help-all lists all flags"},
		"syntax of a flag":           {good, "check --=x", 2, "invalid syntax of a flag"},
		"flag without its value":     {good, "check --only", 2, "missing value of --only; use --only=VALUE"},
		"no duration":                {good, "check --timeout soon", 2, "invalid value of --timeout; use a duration such as 30s"},
		"no number":                  {good, "event --count many", 2, "invalid value of --count; use a number"},
		"no yes or no":               {good, "event --again=perhaps", 2, "invalid value of --again; use true, false or no value"},
		"no pair":                    {good, "check --status ready", 2, "invalid value of --status; use word=status"},
		"argument":                   {good, "check x", 2, "takes the base URL"},
		"no id":                      {good, "fetch", 2, "missing id of the extension"},
		"two ids":                    {good, "fetch a b", 2, "too many arguments; flysim fetch takes one id"},
		"no provider":                {good.with("FLYSIM_BASE_URL", "-"), "check", 2, "missing base URL"},
		"no secret":                  {good.with("FLYIO_SIGNING_SECRET", "-"), "check", 2, "missing signing secret"},
		"empty secret":               {good.with("FLYIO_SIGNING_SECRET", " "), "check", 2, "FLYIO_SIGNING_SECRET is empty"},
		"empty flag":                 {good, "check --signing-secret=", 2, "--signing-secret is empty"},
		"URL":                        {good, "check --base-url logjam.io", 2, "must start with http:// or https://"},
		"URL with a user":            {good, "check --base-url http://me:password@logjam.io", 2, "has a user"},
		"format":                     {good, "check --format hmac", 2, `unknown format "hmac"`},
		"generation":                 {good, "check --generation 3", 2, "unknown generation 3; --generation is 1 or 2"},
		"contradiction":              {good, "check --generation 1 --format x-signature", 2, "x-signature belongs to generation 2, but --generation is 1"},
		"the other contradiction":    {good, "check --generation 2 --format cavage", 2, "cavage belongs to generation 1, but --generation is 2"},
		"useless token":              {good, "check --bearer-token x", 2, "--bearer-token applies to generation 1 only"},
		"useless key id":             {good, "check --key-id x", 2, "--key-id applies to generation 1 only"},
		"half a client":              {good.with("FLYIO_CLIENT_ID", "x"), "check", 2, "only one of client id and client secret is set"},
		"no client":                  {good, "sso x", 2, "missing OAuth client"},
		"timeout":                    {good, "check --timeout 0s", 2, "--timeout"},
		"patience":                   {good, "check --patience 0s", 2, "--patience"},
		"requirement":                {good, "check --only nosuch", 2, `unknown requirement "nosuch"`},
		"file of variables":          {good, "check --env-file nosuch", 2, "nosuch: no such file"},
		"file of members":            {good, "provision --params nosuch", 2, "nosuch: no such file"},
		"members":                    {good, "provision --params -", 2, "standard input must contain a JSON object"},
		"option":                     {good, "provision --option plan", 2, "key=value"},
		"option twice":               {good, "provision --option a=1 --option a=2", 2, `"a" is set twice`},
		"option of a flag":           {good, "provision --option name=x", 2, `cannot set "name"; use --name`},
		"option of the signature":    {good, "provision --option nonce=x", 2, "a parameter of the signature"},
		"address":                    {good, "provision --ip 10.0.0.1", 2, "invalid IPv6 address"},
		"no change":                  {good, "update x", 2, "nothing to change"},
		"regions and none":           {good, "update x --read-region fra --no-read-regions", 2, "exclude each other"},
		"set and unset":              {good, "update x --option a=1 --unset a", 2, "also set"},
		"name twice":                 {good, "update x --name a --option name=b", 2, `"name" is set twice`},
		"event mode":                 {good, "event --mode carrier-pigeon", 2, "--mode is binary, structured or batched"},
		"event batch":                {good, "event --mode batched", 2, "a batch is an array. Use --mode structured"},
		"event of a list":            {good, "event --data []", 2, "in binary mode is the data"},
		"event of the signature":     {good, `event --data {"nonce":"x"}`, 2, `already has a "nonce"`},
		"event of no JSON":           {good, "event --data x", 2, "--data: the text is not valid JSON"},
		"event of a file":            {good, "event --data @nosuch", 2, "nosuch: no such file"},
		"data and machine":           {good, "event --data {} --machine x", 2, "--data excludes --machine and --status"},
		"no event":                   {good, "event --count 0", 2, "--count must be 1 to"},
		"events of one id":           {good, "event --count 2 --id x", 2, "use --again to send an event twice"},
		"event without a type":       {good, "event --type=", 2, "must not be empty"},
		"event and argument":         {good, "event x", 2, "takes flags only"},
		"silent event":               {silent, "event --json", 3, "connection refused"},
		"webhooks open to all":       {good.with("FLYIO_WEBHOOK_SECRET", "x"), "check --webhook-addr 0.0.0.0:0", 2, "use a loopback address"},
		"webhooks of no secret":      {good, "check --webhook-addr 127.0.0.1:0", 2, "missing webhook secret"},
		"empty webhook secret":       {good.with("FLYIO_WEBHOOK_SECRET", " "), "serve", 2, "FLYIO_WEBHOOK_SECRET is empty"},
		"sign-on of the page":        {good, "serve --sso-generation 3", 2, "unknown generation 3; --sso-generation is 1 or 2"},
		"JUnit":                      {good, "check --junit nosuch/x.xml", 2, "no such file"},
		"open to all":                {good, "serve --addr 0.0.0.0:4000", 2, "use a loopback address"},
		"open to all, by name":       {good, "serve --addr logjam.io:4000", 2, "use a loopback address"},
		"open to all, by default":    {good, "serve --addr :4000", 2, "use a loopback address"},
		"JSON of the page":           {good, "serve --json", 2, "omit --json"},
		"verbose page":               {good, "serve -v", 2, "omit --verbose"},
		"redirect":                   {moved, "fetch x", 1, "Fly.io does not follow redirects"},
		"too many headers":           {newTerminal(serveHangUp(t, "HTTP/1.1 200 OK\r\n"+strings.Repeat("A: b\r\n", 20_000)+"\r\n")), "fetch x", 3, "headers exceeded 65536 bytes"},
		"no address":                 {good, "serve --addr 4000", 2, `invalid address "4000"`},
		"sign-on open to all":        {good.with("FLYIO_CLIENT_ID", "x", "FLYIO_CLIENT_SECRET", "y"), "sso x --oauth-addr 0.0.0.0:0", 2, "use a loopback address"},
		"unknown user":               {good.with("FLYIO_CLIENT_ID", "x", "FLYIO_CLIENT_SECRET", "y"), "sso x --as nosuch", 2, "--as is"},
		"explain of two files":       {good, "explain a b", 2, "too many arguments; flysim explain takes one file"},
		"silent":                     {silent, "provision", 3, "no answer from " + silent.env["FLYSIM_BASE_URL"]},
		"silent check":               {silent, "check", 3, "connection refused"},
		"silent check, JSON":         {silent, "check --json", 3, "connection refused"},
		"too slow":                   {newTerminal(serveNothing(t)), "fetch x --timeout 50ms", 3, "timeout after 50ms; set --timeout to wait longer"},
		"hangs up":                   {newTerminal(serveHangUp(t, "")), "fetch x", 3, "closed the connection"},
		"hangs up during the answer": {newTerminal(serveHangUp(t, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")), "fetch x", 3, "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // ends a command that serves although it must not
			defer cancel()
			got := c.term.runUntil(ctx, strings.Fields(c.args)...).want(t, c.status)
			if !strings.Contains(words(got.stderr), c.stderr) {
				t.Errorf("standard error has no %q:\n%s", c.stderr, got.stderr)
			}
			narrow(t, got.stderr)
			if c.status >= 2 && !strings.Contains(c.args, "--json") && got.stdout != "" {
				t.Errorf("standard output is %q, want none", got.stdout)
			}
		})
	}
}

// serveStatus serves the same answer to all requests.
func serveStatus(t *testing.T, status int, body string) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// serveNothing accepts connections and sends no answer.
func serveNothing(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return "http://" + listener.Addr().String()
}

// serveHangUp sends a text to each client and closes the connection.
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
