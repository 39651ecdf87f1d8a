package main

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flyext/flyext/cmd/flysim/internal/har"
	"github.com/flyext/flyext/cmd/flysim/internal/unsign"
	"github.com/flyext/flyext/flytest"
)

const replayHelp = `Replay sends the last request of a HAR file to the provider at the base URL. It
signs the request again, with a new timestamp and nonce. The body and the other
headers stay as recorded. Flysim check --record DIR writes such files.

With --same-bytes, replay sends the recorded signature, timestamp and nonce. A
provider must reject that as a replay or as too old.`

func (p *program) replayCommand() *cobra.Command {
	var same bool
	cmd := &cobra.Command{
		Use: "replay FILE [flags]", Short: "Send a recorded request again", Long: replayHelp,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("invalid arguments; %s takes one HAR file", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return p.replay(cmd.Context(), args[0], same) },
	}
	cmd.Flags().BoolVar(&same, "same-bytes", false, "send the recorded signature, timestamp and nonce")
	return cmd
}

func (p *program) replay(ctx context.Context, name string, same bool) error {
	fly, err := p.platform()
	if err != nil {
		return err
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return usagef("cannot read the recorded request: %w", err)
	}
	all, err := har.Decode(text)
	if err != nil {
		return usagef("%s: %w", name, err)
	}
	recorded := all[len(all)-1]
	make := p.signAnew
	if same {
		make = p.asRecorded
	}
	r, err := make(ctx, fly, recorded)
	if err != nil {
		return &usageError{err} // flysim sent no request
	}
	answer, err := fly.Do(r)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	return p.showSent(answer, body)
}

// asRecorded returns the recorded request with the host of the base URL.
func (p *program) asRecorded(ctx context.Context, _ *flytest.Platform, recorded har.Request) (*http.Request, error) {
	u, err := url.Parse(recorded.URL)
	if err != nil {
		return nil, err
	}
	base, err := url.Parse(p.baseURL)
	if err != nil {
		return nil, err
	}
	u.Scheme, u.Host = base.Scheme, base.Host
	r, err := http.NewRequestWithContext(ctx, recorded.Method, u.String(), nil)
	if err != nil {
		return nil, err
	}
	r.Header = recorded.Header.Clone()
	flytest.SetBody(r, recorded.Body)
	return r, nil
}

// signAnew returns the recorded request with a new signature.
func (p *program) signAnew(ctx context.Context, fly *flytest.Platform, recorded har.Request) (*http.Request, error) {
	u, err := url.Parse(recorded.URL)
	if err != nil {
		return nil, err
	}
	base, err := url.Parse(p.baseURL)
	if err != nil {
		return nil, err
	}
	path, query, body := strings.TrimPrefix(u.EscapedPath(), base.EscapedPath()), u.RawQuery, recorded.Body
	if p.format == flytest.FormatXSignature {
		query, body = unsign.Query(query), unsign.Body(body)
	}
	if query != "" {
		path += "?" + query
	}
	own := *fly
	own.Signer = &headerSigner{unsign.Header(recorded.Header), fly.Signer}
	return own.NewRequest(ctx, recorded.Method, path, body)
}

// A headerSigner sets the header of a request before it signs the request, because a
// signature can cover the header.
type headerSigner struct {
	header http.Header
	signer flytest.Signer
}

// Sign implements [flytest.Signer].
func (s *headerSigner) Sign(r *http.Request, now time.Time) error {
	r.Header = s.header.Clone()
	return s.signer.Sign(r, now)
}

// record writes the exchanges of a failed requirement to a file.
func (p *program) record(dir string, result flytest.Result) error {
	if dir == "" || result.Verdict != flytest.Failed || len(result.Exchanges) == 0 {
		return nil
	}
	exchanges := slices.Clone(result.Exchanges)
	for i, e := range exchanges {
		if len(e.RequestBody) > maxJSONBody {
			exchanges[i].RequestBody = e.RequestBody[:maxJSONBody]
		}
	}
	text, err := har.Encode(exchanges, version(), time.Now())
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, result.ID+".har"), text, 0o600) // not readable for others: it contains secrets
	}
	return err
}
