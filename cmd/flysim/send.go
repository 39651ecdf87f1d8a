package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flyext/flyext/flytest"
)

const sendHelp = `Send signs a request as Fly.io does and sends it. Use it for signed routes of
your own, and for requests that no other command sends. PATH is relative to the
base URL. The body of the answer goes to standard output.

  flysim send PUT /organizations/m03f/subscription \
    --body '{"plan": "pro"}'
  flysim send POST /extensions/eligibility --body @body.json
  flysim send GET '/extensions/x?detail=1' --verbose`

func (p *program) sendCommand() *cobra.Command {
	var body string
	cmd := &cobra.Command{
		Use: "send METHOD PATH [flags]", Short: "Sign and send any request", Long: sendHelp, Args: methodAndPath,
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.send(cmd, strings.ToUpper(args[0]), args[1], body)
		},
	}
	cmd.Flags().StringVar(&body, "body", "", "the `text` of the body, @FILE, or - for standard input (default {} if a body is signed)")
	return cmd
}

func methodAndPath(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) != 2:
		return usagef("invalid arguments; %s takes a method and a path, such as: flysim send PUT /organizations/m03f/subscription", cmd.CommandPath())
	case !strings.HasPrefix(args[1], "/"):
		return usagef("the path must begin with a slash; it is relative to the base URL")
	}
	return nil
}

func (p *program) send(cmd *cobra.Command, method, path, text string) error {
	fly, err := p.platform()
	if err != nil {
		return err
	}
	body, err := p.bodyOf(method, text)
	if err != nil {
		return err
	}
	r, err := fly.NewRequest(cmd.Context(), method, path, body)
	if err != nil {
		return &usageError{err} // flysim sent no request
	}
	answer, err := fly.Do(r)
	if err != nil {
		return err
	}
	got, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	return p.showSent(answer, got)
}

// bodyOf returns the body that --body sets.
func (p *program) bodyOf(method, text string) ([]byte, error) {
	signsQuery := method == http.MethodGet || method == http.MethodHead || method == http.MethodDelete
	name, isFile := strings.CutPrefix(text, "@")
	var body []byte
	var err error
	switch {
	case text == "-":
		body, err = io.ReadAll(p.stdin)
	case isFile:
		body, err = os.ReadFile(name)
	case text == "" && !signsQuery && p.format == flytest.FormatXSignature:
		return []byte("{}"), nil
	default:
		return []byte(text), nil
	}
	if err != nil {
		return nil, usagef("--body: %w", err)
	}
	return body, nil
}

// showSent shows an answer with any body.
func (p *program) showSent(answer *http.Response, body []byte) error {
	if p.json {
		doc := map[string]any{"status": answer.StatusCode, "body": string(body)}
		if json.Valid(body) {
			doc["body"] = json.RawMessage(body)
		}
		p.writeJSON(doc)
	} else {
		p.err.line(plain, "", fmt.Sprintf("%s %s", answer.Proto, answer.Status))
		if p.out.terminal {
			p.out.raw(string(bytes.TrimRight(body, "\n")) + "\n")
		} else if _, err := p.out.w.Write(body); err != nil {
			return usagef("standard output: %w", err)
		}
	}
	if answer.StatusCode/100 != 2 {
		return errRequirements
	}
	return nil
}
