package main

import (
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/flyext/flyext/cmd/flysim/internal/explain"
)

const explainHelp = `Explain says why the signature of a captured request does not verify. It names
the format, the reading that fits, the exact bytes that are signed, and the
first byte at which the text that your provider signs differs. It works offline.

  flysim explain request.txt               # as curl -v or raw HTTP shows it
  flysim explain session.har               # the last request of a HAR file
  flysim explain --body body.json < head   # the head and the body apart
  flysim explain request.txt --base signed.txt`

// An explaining has the flags of explain.
type explaining struct {
	body, base string
	at         string
}

func (p *program) explainCommand() *cobra.Command {
	var e explaining
	cmd := &cobra.Command{
		Use: "explain [FILE] [flags]", Short: "Say why a captured signature does not verify", Long: explainHelp, Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return p.explainRequest(args, &e) },
	}
	flags := cmd.Flags()
	flags.StringVar(&e.body, "body", "", "the body of the request is in this `file`, byte for byte")
	flags.StringVar(&e.base, "base", "", "compare with the text that the provider signs, in this `file`")
	flags.StringVar(&e.at, "at", "", "judge the timestamp by this `time`, such as 2026-01-31T12:00:00Z (default now)")
	return cmd
}

func (p *program) explainRequest(args []string, e *explaining) error {
	if p.signingSecret == "" {
		return usagef("the signing secret is missing: set FLYIO_SIGNING_SECRET, in the environment or in an --env-file, to the provider's secret")
	}
	q, err := p.question(args, e)
	if err != nil {
		return err
	}
	answer := explain.Explain(*q)
	if p.json {
		p.writeJSON(map[string]any{
			"format": answer.Format, "right": answer.Right, "reading": answer.Reading, "findings": answer.Findings, "base": string(answer.Base), "expected": answer.Expected,
		})
	} else {
		p.out.say("%s %s: format %s", q.Request.Method, q.Request.Target, answer.Format)
		for _, finding := range answer.Findings {
			p.out.beside(plain, "* ", p.redact(finding))
		}
		p.showBytes("signed bytes", answer.Base)
		p.showBytes("bytes that the sender signed instead", answer.Signed)
		if answer.Expected != "" {
			p.out.line(plain, "", "right value  "+answer.Expected)
		}
	}
	if !answer.Right {
		return errRequirements
	}
	return nil
}

// showBytes prints bytes between two lines that name them.
func (p *program) showBytes(name string, text []byte) {
	if len(text) == 0 {
		return
	}
	p.out.line(yellow, "", "--- "+name)
	p.out.raw(p.redact(string(text)) + "\n")
	p.out.line(yellow, "", "--- end of the "+name)
}

// question reads the files.
func (p *program) question(args []string, e *explaining) (*explain.Question, error) {
	q := &explain.Question{Secret: p.signingSecret, BaseURL: p.baseURL, Now: time.Now()}
	var captured []byte
	var err error
	if len(args) == 0 || args[0] == "-" {
		captured, err = io.ReadAll(p.stdin)
	} else {
		captured, err = os.ReadFile(args[0])
	}
	if err != nil {
		return nil, usagef("the captured request: %w", err)
	}
	if q.Request, err = explain.Parse(captured); err != nil {
		return nil, usagef("the captured request: %w", err)
	}
	if e.body != "" {
		if q.Request.Body, err = os.ReadFile(e.body); err != nil {
			return nil, usagef("--body: %w", err)
		}
	}
	if e.base != "" {
		if q.Pasted, err = os.ReadFile(e.base); err != nil {
			return nil, usagef("--base: %w", err)
		}
	}
	if e.at != "" {
		if q.Now, err = time.Parse(time.RFC3339, e.at); err != nil {
			return nil, usagef("--at: %q is not a time such as 2026-01-31T12:00:00Z", e.at)
		}
	}
	return q, nil
}
