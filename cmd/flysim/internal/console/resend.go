package console

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/cmd/flysim/internal/unsign"
	"github.com/flyext/flyext/flytest"
)

// A draft is a request before it is signed.
type draft struct {
	method, url string
	header      http.Header
	body        []byte
}

// draftOf removes the signature from a request: its header fields and, for
// X-Signature, its parameters in the body or query.
func (c *Console) draftOf(w *wire) draft {
	header := make(http.Header)
	for _, line := range w.request {
		header.Add(line.Name, line.Value)
	}
	d := draft{method: w.method, url: w.url, header: unsign.Header(header), body: w.requestBody}
	if c.format == flytest.FormatXSignature {
		path, query, _ := strings.Cut(w.url, "?")
		d.url, d.body = path, unsign.Body(w.requestBody)
		if query = unsign.Query(query); query != "" {
			d.url += "?" + query
		}
	}
	return d
}

var errElsewhere = errors.New("the path leads out of the provider's base URL")

// toProvider returns a request to the provider. A URL outside of the provider's
// base URL is an error.
func (c *Console) toProvider(ctx context.Context, method, target string) (*http.Request, error) {
	if target != c.base && !strings.HasPrefix(target, c.base+"/") && !strings.HasPrefix(target, c.base+"?") {
		return nil, errElsewhere
	}
	r, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return nil, err
	}
	if base, err := url.Parse(c.base); err != nil || r.URL.Host != base.Host || r.URL.Scheme != base.Scheme || r.URL.User != nil {
		return nil, errElsewhere
	}
	return r, nil
}

// sign returns a draft as a request with a fresh signature.
func (c *Console) sign(ctx context.Context, d draft) (*http.Request, error) {
	r, err := c.toProvider(ctx, d.method, d.url)
	if err != nil {
		return nil, err
	}
	r.Header = d.header.Clone()
	flytest.SetBody(r, d.body)
	return r, c.platform.Signer.Sign(r, c.now())
}

// serveResend sends a request again with a fresh signature.
func (c *Console) serveResend(w http.ResponseWriter, r *http.Request, old *record) {
	sent := c.wireOf(old)
	if sent == nil || sent.incoming {
		c.failPage(w, http.StatusConflict, "This request cannot be sent again", "Its bytes are no longer kept, or the console received it.")
		return
	}
	c.sendDraft(w, r, c.draftOf(sent))
}

// serveEdited sends a request that a person has edited.
func (c *Console) serveEdited(w http.ResponseWriter, r *http.Request, old *record) {
	sent := c.wireOf(old)
	if sent == nil || sent.incoming {
		c.failPage(w, http.StatusConflict, "This request cannot be sent again", "Its bytes are no longer kept, or the console received it.")
		return
	}
	form := editFormOf(r.PostForm)
	d := draft{method: form.text("edit_method"), url: c.base + form.text("edit_path"), header: c.draftOf(sent).header, body: []byte(form.Fields["edit_body"].Value)}
	if !slices.Contains(editMethods, d.method) {
		form.fail("edit_method", "Choose one of "+strings.Join(editMethods, ", ")+".")
	}
	if !strings.HasPrefix(form.text("edit_path"), "/") {
		form.fail("edit_path", "It must begin with a slash.")
	}
	if len(form.Errors) == 0 {
		if _, err := c.sign(r.Context(), d); err != nil {
			form.fail("", sentence(trimPrefix(err)))
		}
	}
	if len(form.Errors) > 0 {
		c.editPage(w, http.StatusUnprocessableEntity, old, form)
		return
	}
	if len(d.body) > 0 && d.header.Get("Content-Type") == "" {
		d.header.Set("Content-Type", "application/json")
	}
	c.sendDraft(w, r, d)
}

func (c *Console) sendDraft(w http.ResponseWriter, r *http.Request, d draft) {
	ctx, cancel := background(r)
	defer cancel()
	signed, err := c.sign(ctx, d)
	if err != nil {
		c.failPage(w, http.StatusConflict, "This request cannot be signed", sentence(trimPrefix(err)))
		return
	}
	c.sendRaw(w, r, signed, func(done call, o outcome) outcome {
		o.headline = "Resent: " + o.headline
		return o
	})
}

// serveReplay sends the same bytes again. The provider has to refuse them.
func (c *Console) serveReplay(w http.ResponseWriter, r *http.Request, old *record) {
	sent := c.wireOf(old)
	if sent == nil || sent.incoming || sent.masked {
		c.failPage(w, http.StatusConflict, "The same bytes cannot be sent again", "They are no longer kept, the console received them, or secrets are masked in them.")
		return
	}
	ctx, cancel := background(r)
	defer cancel()
	again, err := c.toProvider(ctx, sent.method, sent.url)
	if err != nil {
		c.failPage(w, http.StatusConflict, "The same bytes cannot be sent again", sentence(err.Error()))
		return
	}
	for _, line := range sent.request {
		if line.Name != "Host" && line.Name != "Content-Length" {
			again.Header.Add(line.Name, line.Value)
		}
	}
	flytest.SetBody(again, sent.requestBody)
	c.sendRaw(w, r, again, func(done call, o outcome) outcome {
		if done.wire != nil {
			done.wire.base = sent.base
		}
		return replayed(done, o)
	})
}

// replayed describes the answer to a replay.
func replayed(done call, o outcome) outcome {
	if !done.answered() {
		return o
	}
	switch status := done.wire.status; {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return outcome{true, "Same bytes again: refused, as required", ""}
	case status/100 == 2:
		return outcome{false, "Same bytes again: accepted", "The provider accepted a captured request a second time. It must remember each nonce until the timestamp is too old, and answer the second use with 401."}
	}
	return outcome{false, "Same bytes again: " + o.headline, "A provider must answer a replay with 401."}
}

// sendRaw sends a request, applies the answer to its extension, and redirects to
// the page of the new record.
func (c *Console) sendRaw(w http.ResponseWriter, r *http.Request, request *http.Request, say func(call, outcome) outcome) {
	c.mu.Lock()
	what, x := c.classify(request)
	c.mu.Unlock()
	done := c.do(what, func(p *flytest.Platform) (*flyext.Extension, error) {
		answer, err := p.Do(request)
		if err != nil {
			return nil, err
		}
		return c.interpret(what, request, answer)
	})
	done.about = request.Header.Get("Ce-Type")
	o := say(done, done.outcome(c.base))

	c.mu.Lock()
	var made *record
	if x != nil && c.findLocked(func(other *extension) bool { return other == x }) != nil {
		made = c.takeAs(x, done, o)
	} else {
		made = c.newRecord(what)
		c.keep(made, done.wire, o)
		c.save(made, nil)
		c.changed(string(what) + ": " + o.headline)
	}
	n := made.n
	c.mu.Unlock()
	http.Redirect(w, r, requestPath(n), http.StatusSeeOther)
}

// classify returns the action of a request to the provider, and its extension.
// The console is locked.
func (c *Console) classify(r *http.Request) (action, *extension) {
	path := strings.TrimPrefix(r.URL.String(), c.base)
	path, _, _ = strings.Cut(path, "?")
	for _, x := range slices.Backward(c.extensions) {
		if path == flytest.ExtensionPath(x.id) {
			switch r.Method {
			case http.MethodGet:
				return actionFetch, x
			case http.MethodPatch:
				return actionUpdate, x
			case http.MethodDelete:
				return actionDeprovision, x
			}
		}
	}
	switch {
	case r.Method == http.MethodPost && path == "/extensions/events":
		return actionEvent, nil
	case r.Method == http.MethodPost && path == "/extensions":
		return actionProvision, c.findLocked(func(x *extension) bool { return x.request.ID == idIn(r) })
	}
	return actionRequest, nil
}

// idIn returns the id in the body of a provision request.
func idIn(r *http.Request) string {
	var read struct {
		ID string `json:"id"`
	}
	_ = json.Unmarshal(bodyBytes(r), &read) // a body that is not JSON has no id
	return read.ID
}

// interpret reads an answer as the platform does.
func (c *Console) interpret(what action, request *http.Request, answer *http.Response) (*flyext.Extension, error) {
	p := c.platform
	p.Observe = nil
	p.Client = &http.Client{Transport: always{answer}}
	ctx := context.Background()
	switch what {
	case actionProvision:
		return p.Provision(ctx, flyext.ProvisionRequest{ID: idIn(request)})
	case actionUpdate:
		return p.Update(ctx, "x", flyext.UpdateRequest{})
	case actionFetch:
		return p.Fetch(ctx, "x")
	}
	return nil, p.Deprovision(ctx, "x") // Deprovision looks only at the status
}

// always is a transport that gives one answer, once.
type always struct{ answer *http.Response }

func (a always) RoundTrip(*http.Request) (*http.Response, error) { return a.answer, nil }

// wireOf returns the bytes of a record, or nil if they are not kept.
func (c *Console) wireOf(r *record) *wire {
	c.mu.Lock()
	defer c.mu.Unlock()
	return r.wire
}
