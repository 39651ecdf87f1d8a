package flytest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/internal/readings"
)

// A Trial is another way to send a request that the provider refused. An accepted
// trial names the provider's mistake.
type Trial struct {
	// Text says what the provider does if it accepts the request, after "Your
	// provider", such as "compares upper-case hex digits".
	Text string
	// Fix says what to change.
	Fix string
	// Accepted reports whether the provider accepted it.
	Accepted bool
}

// A trial is a Trial and how to make its request.
type trial struct {
	Trial
	make func(ctx context.Context) (*http.Request, error)
}

// opens reports whether the first requirement leaves something to test. Where it
// does not, opens finds out why.
func (r *conformanceRun) opens(ctx context.Context, result *Result) bool {
	if result.Verdict == Passed || r.provisioned {
		return true
	}
	if n := len(result.Exchanges); n > 0 && result.Exchanges[n-1].Response != nil {
		r.diagnose(ctx, result, result.Exchanges[n-1])
	}
	return false
}

// diagnose finds out why the provider refused a request.
func (r *conformanceRun) diagnose(ctx context.Context, result *Result, e Exchange) {
	s := &subject{conformanceRun: r} // the result keeps the request that was refused
	switch status := e.Response.StatusCode; status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusInternalServerError:
		result.Trials = s.try(ctx, s.signatureTrials(e), func(status int) bool { return status/100 == 2 })
		result.Fix = s.advice(result, status)
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		result.Trials = s.try(ctx, s.pathTrials(), func(status int) bool {
			return status != http.StatusNotFound && status != http.StatusMethodNotAllowed
		})
		result.Fix = pathAdvice(result)
	}
}

// try sends trials until the context ends.
func (s *subject) try(ctx context.Context, trials []trial, accepts func(status int) bool) []Trial {
	var tried []Trial
	for _, t := range trials {
		r, err := t.make(ctx)
		if err != nil {
			continue // a way that these credentials do not have
		}
		e, err := s.send(r)
		if ctx.Err() != nil {
			break
		}
		t.Accepted = err == nil && accepts(e.Response.StatusCode)
		tried = append(tried, t.Trial)
	}
	return tried
}

// named adds to a failure what the provider verifies in place of the raw bytes.
func (s *subject) named(ctx context.Context, err error) error {
	f, ok := err.(*failure)
	if !ok || s.Conformance.Format != FormatXSignature {
		return err
	}
	own := &subject{conformanceRun: s.conformanceRun} // the result keeps the request that was refused
	trials := own.try(ctx, own.readingTrials(), func(status int) bool { return status/100 == 2 })
	if text := accepted(trials); text != "" {
		f.got = text + " The answer: " + f.got
	}
	return err
}

// advice names the mistakes of a provider that refused a signature.
func (s *subject) advice(result *Result, status int) string {
	if text := accepted(result.Trials); text != "" {
		return text
	}
	if status == http.StatusBadRequest || status == http.StatusInternalServerError {
		return result.Fix // nothing says that the signature is why
	}
	return fmt.Sprintf("Compare the signing secret: the one used here has %d bytes. Then compare the base URL with %s, and the clock. The provider's log may say more.",
		len(s.Credentials.SigningSecret), s.baseURL())
}

// accepted says what the accepted trials say, or "".
func accepted(trials []Trial) string {
	var texts []string
	for _, t := range trials {
		if t.Accepted && len(texts) < 3 {
			texts = append(texts, "Your provider "+t.Text+". "+t.Fix)
		}
	}
	return strings.Join(texts, " Or: ")
}

func pathAdvice(result *Result) string {
	if text := accepted(result.Trials); text != "" {
		return text
	}
	return "Serve POST {base}/extensions. Compare the base URL with the path that the provider's router has."
}

// probe is what trials provision: a text that each JSON library writes otherwise.
func (s *subject) probe() ([]byte, error) {
	order := s.order()
	order.OrganizationName = "Conformance & Söhne"
	s.willMake(order.ID)
	body, err := encodeProvision(order)
	if err != nil {
		return nil, err
	}
	spaced := jsontext.Value(body)
	err = spaced.Format(jsontext.PreserveRawStrings(true), jsontext.WithIndent("  "), jsontext.SpaceAfterComma(true))
	return spaced, err
}

// probeRequest returns a signed request with a probe.
func (s *subject) probeRequest(ctx context.Context, changes ...how) (*http.Request, error) {
	body, err := s.probe()
	if err != nil {
		return nil, err
	}
	return s.genuine(ctx, http.MethodPost, "/extensions", body, changes...)
}

// signatureTrials are the mistakes that providers make with signatures.
func (s *subject) signatureTrials(refused Exchange) []trial {
	trials := s.clockTrials(refused)
	if s.Conformance.Format == FormatXSignature {
		trials = slices.Concat(s.readingTrials(), s.parameterTrials(), trials)
	}
	for _, format := range Formats() {
		if format == s.Conformance.Format {
			continue
		}
		trials = append(trials, trial{
			Trial{Text: fmt.Sprintf("verifies the format %s, of generation %d", format, format.Generation()),
				Fix: fmt.Sprintf("Verify the format %s, or test with the format %s.", s.Conformance.Format, format)},
			func(ctx context.Context) (*http.Request, error) {
				return s.probeRequest(ctx, signedBy(format.Signer(s.Credentials)))
			},
		})
	}
	return trials
}

// readingTrials are signatures that are computed wrongly.
func (s *subject) readingTrials() []trial {
	var trials []trial
	for _, known := range readings.All(readings.Request{Content: []byte(`{"a": "ü&"}`), URL: "u", Timestamp: "1", Secret: s.Credentials.SigningSecret}) {
		trials = append(trials, trial{
			Trial{Text: known.Text, Fix: known.Fix},
			func(ctx context.Context) (*http.Request, error) {
				r, err := s.probeRequest(ctx)
				if err != nil {
					return nil, err
				}
				content := SignatureBase(r)
				signed, _ := decodeObject([]byte(content))
				all := readings.All(readings.Request{
					Content: []byte(content), URL: r.URL.String(), Timestamp: string(signed["timestamp"]), Secret: s.Credentials.SigningSecret,
				})
				i := slices.IndexFunc(all, func(reading readings.Reading) bool { return reading.ID == known.ID })
				if i < 0 {
					return nil, fmt.Errorf("flytest: there is no reading %q of this request", known.ID)
				}
				r.Header.Set("X-Signature", all[i].Signature)
				return r, nil
			},
		})
	}
	return trials
}

// parameterTrials have other parameters of the signature.
func (s *subject) parameterTrials() []trial {
	own := s.baseURL().String() + "/extensions"
	trials := []trial{{
		Trial{"reads the timestamp as milliseconds", "The timestamp is in seconds since 1970.", false},
		s.withParameters(func(now time.Time) string { return strconv.FormatInt(now.UnixMilli(), 10) }, own),
	}, {
		Trial{"reads the timestamp as a string alone", "Read a number and a string: Fly.io's own examples show both.", false},
		s.withParameters(func(now time.Time) string { return strconv.Quote(strconv.FormatInt(now.Unix(), 10)) }, own),
	}}
	for _, other := range otherURLs(s.baseURL()) {
		trials = append(trials, trial{
			Trial{Text: `compares the signed "url" with ` + other, Fix: fmt.Sprintf("Fly.io signs the URL that it calls, %s. Give the provider the base URL %s.", own, s.baseURL())},
			s.withParameters(func(now time.Time) string { return strconv.FormatInt(now.Unix(), 10) }, other),
		})
	}
	return trials
}

// withParameters makes requests whose signature is right, for a time and a URL.
func (s *subject) withParameters(timestamp func(time.Time) string, signed string) func(context.Context) (*http.Request, error) {
	return func(ctx context.Context) (*http.Request, error) {
		body, err := s.probe()
		if err != nil {
			return nil, err
		}
		end, _, err := endOfObject(body)
		if err != nil {
			return nil, err
		}
		body = fmt.Appendf(body[:end], `,"timestamp":%s,"nonce":"%s","url":%q}`, timestamp(s.now()), rand.Text(), signed)
		return s.genuine(ctx, http.MethodPost, "/extensions", body, s.asIs())
	}
}

// otherURLs are the URLs that a provider may have in place of its own.
func otherURLs(base *url.URL) []string {
	var urls []string
	add := func(change func(u *url.URL)) {
		u := *base
		change(&u)
		if text := u.String() + "/extensions"; u != *base && !slices.Contains(urls, text) {
			urls = append(urls, text)
		}
	}
	add(func(u *url.URL) { u.Scheme = map[string]string{"http": "https", "https": "http"}[u.Scheme] })
	add(func(u *url.URL) { u.Host = u.Hostname() })
	add(func(u *url.URL) { u.Scheme, u.Host = "https", u.Hostname() })
	for from, to := range map[string]string{"localhost": "127.0.0.1", "127.0.0.1": "localhost"} {
		add(func(u *url.URL) {
			if u.Hostname() == from {
				u.Host = strings.Replace(u.Host, from, to, 1)
			}
		})
	}
	add(func(u *url.URL) { u.Path, u.RawPath = "", "" })
	own := base.String()
	return append(urls, own+"/extensions/", own, base.EscapedPath()+"/extensions", "/extensions")
}

// clockTrials are signed by the provider's clock, if it is another.
func (s *subject) clockTrials(refused Exchange) []trial {
	date, err := http.ParseTime(refused.Response.Header.Get("Date"))
	if err != nil {
		return nil
	}
	offset := date.Sub(s.now()).Round(time.Second)
	if offset.Abs() < time.Minute {
		return nil
	}
	return []trial{{
		Trial{Text: fmt.Sprintf("has a clock that differs by %v", offset), Fix: "Set the clock of the machine."},
		func(ctx context.Context) (*http.Request, error) { return s.probeRequest(ctx, signedAt(offset)) },
	}}
}

// pathTrials are other base URLs.
func (s *subject) pathTrials() []trial {
	base := s.baseURL()
	var bases []*url.URL
	for _, path := range []string{"", "/flyio", base.Path + "/flyio"} {
		if other := base.JoinPath(); path != base.Path {
			other.Path, other.RawPath = path, ""
			bases = append(bases, other)
		}
	}
	var trials []trial
	for _, other := range bases {
		text := other.String()
		trials = append(trials, trial{
			Trial{Text: "answers at " + text + "/extensions", Fix: "Use the base URL " + text + ", or serve POST " + base.String() + "/extensions."},
			func(ctx context.Context) (*http.Request, error) {
				return s.probeRequest(ctx, func(p *Platform) { p.BaseURL = text })
			},
		})
	}
	return trials
}

// isFlat reports whether an answer has generation 1's shape: secrets alone.
func isFlat(members map[string]jsontext.Value) bool {
	for _, name := range []string{"id", "config", "status"} {
		if _, ok := members[name]; ok {
			return false
		}
	}
	return len(members) > 0
}

// flat is how generation 1's shape fails generation 2.
func (s *subject) flat(x *extension) error {
	if s.generation() == flyext.Generation2 && isFlat(x.members) {
		return &failure{`generation 2's envelope: {"id": "…", "config": {secrets}}`, "generation 1's shape: an object of secrets alone"}
	}
	return nil
}
