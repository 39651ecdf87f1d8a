package console

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// WebhookPath is the path of the webhook endpoint below the console's URL. It is
// the path of the provider's [flyext.WebhookConfig.Endpoint].
const WebhookPath = "/webhooks"

const (
	maxWebhook     = 64 << 10 // bytes; a webhook is short
	maxWebhooks    = 100      // on the page
	maxRemembered  = 10_000   // resources that the receiver remembers
	webhookTimeout = 10 * time.Second
)

// A webhook is a received webhook on the page.
type webhook struct {
	*record
	id string // of its resource, or ""
}

// newReceiver returns the verifier of webhooks. It reports its result to observed
// while receive waits.
func (c *Console) newReceiver() *flytest.WebhookReceiver {
	return &flytest.WebhookReceiver{Secret: c.webhookSecret, URL: c.webhookURL, Now: c.now, Observe: func(w flytest.Webhook) { c.observed = w }}
}

// serveWebhook receives a provider's webhook. It is for servers: a browser that
// names another site gets the answer for another site's form.
func (c *Console) serveWebhook(w http.ResponseWriter, r *http.Request) {
	setSafeHeaders(w.Header())
	if err := http.NewCrossOriginProtection().Check(r); err != nil {
		c.log.Warn("refused a form of another site", "path", r.URL.Path)
		http.Error(w, "Webhooks come from servers, not from browsers.", http.StatusForbidden)
		return
	}
	start := time.Now()
	// A slow sender must not keep the others waiting.
	deadline := http.NewResponseController(w)
	_ = deadline.SetReadDeadline(start.Add(webhookTimeout)) // a server without deadlines is not open to strangers
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxWebhook))
	_ = deadline.SetReadDeadline(time.Time{})

	answer, hook := c.receive(r, body, err)
	maps.Copy(w.Header(), answer.header)
	w.WriteHeader(answer.status)
	_, _ = w.Write(answer.body.Bytes()) // a sender that has gone sends it again

	request := []headerLine{{"Host", r.Host}}
	for _, coding := range r.TransferEncoding {
		request = append(request, headerLine{"Transfer-Encoding", coding})
	}
	seen := &wire{
		method: r.Method, url: c.url + printable(r.URL.RequestURI()), target: printable(r.URL.RequestURI()), requestBody: body, base: string(body), incoming: true,
		request: append(request, linesOf(r.Header)...),
		status:  answer.status, statusText: fmt.Sprintf("HTTP/1.1 %d %s", answer.status, http.StatusText(answer.status)),
		answer: linesOf(w.Header()), answerBody: answer.body.Bytes(), duration: time.Since(start),
	}
	// Do not log the action and the reason: they are untrusted text.
	c.log.Info("received a webhook", "status", answer.status, "ok", hook.Refused == "")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told(hook, seen)
}

// receive verifies a webhook. unread is the error of reading its body. It
// verifies one webhook at a time, so that observed is the result of this one.
func (c *Console) receive(r *http.Request, body []byte, unread error) (*answer, flytest.Webhook) {
	in := r.Clone(r.Context())
	var rest io.Reader = http.NoBody
	if unread != nil {
		rest = failing{unread}
	}
	in.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), rest))
	out := &answer{header: make(http.Header)}
	c.receiving.Lock()
	defer c.receiving.Unlock()
	if c.receiver.Stats().Accepted >= maxRemembered {
		c.receiver = c.newReceiver() // this forgets the nonces too; the timestamps of their webhooks are too old soon
	}
	c.receiver.ServeHTTP(out, in)
	return out, c.observed
}

// failing is a body whose reading fails.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// An answer is recorded before it is sent.
type answer struct {
	status int
	header http.Header
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(p []byte) (int, error) { return a.body.Write(p) }

// told lists a webhook, and applies it to its extension if it was accepted. The
// console is locked.
func (c *Console) told(hook flytest.Webhook, seen *wire) {
	x := c.of(hook.Resource.ID)
	o := outcomeOf(hook)
	if x != nil && hook.Refused == "" {
		c.hear(x, hook)
	}
	r := c.newRecord(actionWebhook)
	if x != nil {
		x.history = append(x.history, r)
		c.attach(r, x)
	}
	c.webhooks = append(c.webhooks, webhook{r, hook.Resource.ID})
	c.keep(r, seen, o)
	if x != nil {
		c.trim(x)
	}
	if len(c.webhooks) > maxWebhooks {
		first := c.webhooks[0].record
		c.webhooks = slices.Delete(c.webhooks, 0, 1)
		if !c.inHistory(first) && c.recordOf(first.n) == nil {
			c.drop(first)
		}
	}
	c.save(r, x)
	about := "Webhook"
	if x != nil {
		about = x.title()
	}
	c.changed(about + ": " + o.headline)
}

// of returns the extension with a provider's id. If several have had that id, it
// returns the latest. The console is locked.
func (c *Console) of(id string) *extension {
	for _, x := range slices.Backward(c.extensions) {
		if id != "" && x.id == id {
			return x
		}
	}
	return nil
}

func (c *Console) inHistory(r *record) bool {
	return slices.ContainsFunc(c.extensions, func(x *extension) bool { return slices.Contains(x.history, r) })
}

// hear applies an accepted webhook to its extension. The console is locked.
func (c *Console) hear(x *extension, hook flytest.Webhook) {
	if hook.Deleted() {
		c.stopWaiting(x)
		x.state, x.said = stateGone, ""
		return
	}
	said := hook.Resource
	x.name, x.app = orElse(said.Name, x.name), orElse(said.FlyAppName, x.app)
	switch said.Status {
	case "":
		return // the state stays as it is
	case flyext.Ready:
		x.state = stateReady
	case flyext.Failed:
		x.state = stateFailed
	case flyext.Provisioning:
		x.state = stateProvisioning
	default: // a status of the provider's own: it is not polled
		x.state = stateSaid
	}
	x.said = said.Status
}

// outcomeOf describes a webhook.
func outcomeOf(hook flytest.Webhook) outcome {
	if hook.Refused != "" {
		return outcome{false, "Refused: " + clip(hook.Refused, 300), "Fly.io would reject it too, and would learn nothing from it."}
	}
	headline := clip(hook.Action, 60)
	if hook.Resource.Status != "" && !hook.Deleted() {
		headline += ", with the status “" + clip(string(hook.Resource.Status), 60) + "”"
	}
	return outcome{ok: true, headline: headline}
}

type webhooksView struct {
	On       bool
	Endpoint string
	Records  []recordView
}

func (c *Console) serveWebhooksPage(w http.ResponseWriter, _ *http.Request) {
	c.mu.Lock()
	version := c.version
	v := webhooksView{On: c.webhookSecret != "", Endpoint: c.url + WebhookPath}
	for _, hook := range slices.Backward(c.webhooks) {
		told := newRecordView(hook.record)
		told.AboutID = clip(hook.id, 60)
		if x := c.of(hook.id); x != nil {
			told.About, told.AboutTitle = x.n, x.title()
		} else if x := c.findLocked(func(x *extension) bool { return x.n == hook.extension }); x != nil {
			told.About, told.AboutTitle = x.n, x.title()
		}
		v.Records = append(v.Records, told)
	}
	c.mu.Unlock()
	c.write(w, http.StatusOK, webhooksTemplate, page{Title: "Webhooks", Self: WebhookPath, Nav: "webhooks", Class: "wide", Version: version, Content: v})
}

func (c *Console) serveNoWebhook(w http.ResponseWriter, _ *http.Request) {
	c.failPage(w, http.StatusNotFound, "Webhooks are not received", "Start flysim with the webhook secret that your provider has: FLYIO_WEBHOOK_SECRET, or --webhook-secret.")
}
