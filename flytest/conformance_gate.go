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

// A Trial is another way to send a request that the provider refused. If the provider
// accepts it, the trial names the provider's mistake.
type Trial struct {
	// Text names the mistake of a provider that accepts the request. It continues
	// "Your provider", such as "compares upper-case hex digits".
	Text string
	// Fix says how to change the provider.
	Fix string
	// Accepted reports whether the provider accepted it.
	Accepted bool
}

// A trial is a Trial and a function that makes its request.
type trial struct {
	Trial
	make func(ctx context.Context) (*http.Request, error)
}

// opens reports whether the other requirements can be tested after the first. If not,
// it diagnoses the refusal and completes the result.
func (r *conformanceRun) opens(ctx context.Context, result *Result) bool {
	if result.Verdict == Passed || r.provisioned {
		return true
	}
	if n := len(result.Exchanges); n > 0 && result.Exchanges[n-1].Response != nil {
		r.diagnose(ctx, result, result.Exchanges[n-1])
	}
	return false
}

// diagnose tries to find out why the provider refused the request of an exchange.
func (r *conformanceRun) diagnose(ctx context.Context, result *Result, e Exchange) {
	s := &subject{conformanceRun: r} // a new subject, so that the result does not show the trials' requests
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

// try sends the requests of trials until the context ends.
func (s *subject) try(ctx context.Context, trials []trial, accepts func(status int) bool) []Trial {
	var tried []Trial
	for _, t := range trials {
		r, err := t.make(ctx)
		if err != nil {
			continue // these credentials do not allow the trial
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

// named adds the provider's mistake to a failure, if a trial finds out what the provider
// verifies instead of the raw bytes.
func (s *subject) named(ctx context.Context, err error) error {
	f, ok := err.(*failure)
	if !ok || s.Conformance.Format != FormatXSignature {
		return err
	}
	own := &subject{conformanceRun: s.conformanceRun} // so that the result does not show the trials' requests
	trials := own.try(ctx, own.readingTrials(), func(status int) bool { return status/100 == 2 })
	if text := accepted(trials); text != "" {
		f.got = text + " The answer: " + f.got
	}
	return err
}

// advice returns the Fix for a provider that refused a signature.
func (s *subject) advice(result *Result, status int) string {
	if text := accepted(result.Trials); text != "" {
		return text
	}
	if status == http.StatusBadRequest || status == http.StatusInternalServerError {
		return result.Fix // the reason may be something other than the signature
	}
	return fmt.Sprintf("Compare the signing secret: the one used here has %d bytes. Then compare the provider's base URL with %s, and check its clock. The provider's log may say more.",
		len(s.Credentials.SigningSecret), s.baseURL())
}

// accepted returns the text and the fix of the accepted trials, or "".
func accepted(trials []Trial) string {
	var texts []string
	for _, t := range trials {
		if t.Accepted && len(texts) < 3 {
			texts = append(texts, "Your provider "+t.Text+". "+t.Fix)
		}
	}
	return strings.Join(texts, " Or: ")
}

// pathAdvice returns the Fix for a provider that has no route for the request.
func pathAdvice(result *Result) string {
	if text := accepted(result.Trials); text != "" {
		return text
	}
	return "Serve POST {base}/extensions. Compare the base URL with the path in the provider's router."
}

// probe returns the body of a provision request for trials. Each JSON library writes it
// differently, so the trials can tell the libraries apart.
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

// probeRequest returns a request with a probe as its body, signed as Fly.io does except
// for the changes.
func (s *subject) probeRequest(ctx context.Context, changes ...how) (*http.Request, error) {
	body, err := s.probe()
	if err != nil {
		return nil, err
	}
	return s.genuine(ctx, http.MethodPost, "/extensions", body, changes...)
}

// signatureTrials returns a trial for each common mistake with signatures.
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
				Fix: fmt.Sprintf("Verify the format %s, or run the test with the format %s.", s.Conformance.Format, format)},
			func(ctx context.Context) (*http.Request, error) {
				return s.probeRequest(ctx, signedBy(format.Signer(s.Credentials)))
			},
		})
	}
	return trials
}

// readingTrials returns a trial for each known way to compute a signature wrongly.
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

// parameterTrials returns trials with other parameters of the signature.
func (s *subject) parameterTrials() []trial {
	own := s.baseURL().String() + "/extensions"
	trials := []trial{{
		Trial{"reads the timestamp as milliseconds", "Read the timestamp as seconds since 1970.", false},
		s.withParameters(func(now time.Time) string { return strconv.FormatInt(now.UnixMilli(), 10) }, own),
	}, {
		Trial{"accepts the timestamp only as a string", "Accept a number or a string: Fly.io's own examples show both.", false},
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

// withParameters returns a function that makes correctly signed requests with a given
// timestamp and signed URL.
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

// otherURLs returns wrong URLs that a provider may compare with the signed URL.
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
	for _, text := range []string{own + "/extensions/", own, base.EscapedPath() + "/extensions", "/extensions"} {
		if !slices.Contains(urls, text) {
			urls = append(urls, text)
		}
	}
	return urls
}

// clockTrials returns a trial that is signed at the provider's time, if the provider's
// clock differs by a minute or more.
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
		Trial{Text: fmt.Sprintf("has a clock that differs by %v", offset), Fix: "Set the clock of the provider's machine."},
		func(ctx context.Context) (*http.Request, error) { return s.probeRequest(ctx, signedAt(offset)) },
	}}
}

// pathTrials returns trials with other base URLs.
func (s *subject) pathTrials() []trial {
	base := s.baseURL()
	var bases []string
	for _, path := range []string{"", "/flyio", base.Path + "/flyio"} {
		other := *base
		other.Path, other.RawPath = path, ""
		if text := other.String(); text != base.String() && !slices.Contains(bases, text) {
			bases = append(bases, text)
		}
	}
	var trials []trial
	for _, text := range bases {
		trials = append(trials, trial{
			Trial{Text: "answers at " + text + "/extensions", Fix: "Test with the base URL " + text + ", or serve POST " + base.String() + "/extensions."},
			func(ctx context.Context) (*http.Request, error) {
				return s.probeRequest(ctx, func(p *Platform) { p.BaseURL = text })
			},
		})
	}
	return trials
}

// isFlat reports whether an answer has generation 1's shape: an object with only
// secrets.
func isFlat(members map[string]jsontext.Value) bool {
	for _, name := range []string{"id", "config", "status"} {
		if _, ok := members[name]; ok {
			return false
		}
	}
	return len(members) > 0
}

// flat returns a *failure if an answer has generation 1's shape in generation 2.
func (s *subject) flat(x *extension) error {
	if s.generation() == flyext.Generation2 && isFlat(x.members) {
		return &failure{`generation 2's envelope: {"id": "…", "config": {secrets}}`, "generation 1's shape: an object with only secrets"}
	}
	return nil
}
