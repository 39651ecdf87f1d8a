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

// WebhookPath is where a provider sends its webhooks, below the console's URL:
// the path of its [flyext.WebhookConfig.Endpoint].
const WebhookPath = "/webhooks"

const (
	maxWebhook     = 64 << 10 // bytes; what they say of a resource is short
	maxWebhooks    = 100      // that are listed
	maxRemembered  = 10_000   // that the receiver remembers the resources of
	webhookTimeout = 10 * time.Second
)

// A webhook is one that came, as it is listed.
type webhook struct {
	*record
	id string // of its resource, if it is known
}

// newReceiver returns what verifies webhooks. What it finds of one is observed
// while receive waits for it.
func (c *Console) newReceiver() *flytest.WebhookReceiver {
	return &flytest.WebhookReceiver{Secret: c.webhookSecret, URL: c.webhookURL, Now: c.now, Observe: func(w flytest.Webhook) { c.observed = w }}
}

// serveWebhook receives what a provider tells Fly.io. It is for servers: a
// browser that says which site sends it gets what another site's form gets.
func (c *Console) serveWebhook(w http.ResponseWriter, r *http.Request) {
	setSafeHeaders(w.Header())
	if err := http.NewCrossOriginProtection().Check(r); err != nil {
		c.log.Warn("refused a form of another site", "path", r.URL.Path)
		http.Error(w, "A browser sends no webhooks.", http.StatusForbidden)
		return
	}
	start := time.Now()
	// Nobody keeps the others waiting by sending slowly.
	deadline := http.NewResponseController(w)
	_ = deadline.SetReadDeadline(start.Add(webhookTimeout)) // where the server cannot, it is not for strangers
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxWebhook))
	_ = deadline.SetReadDeadline(time.Time{})

	answer, hook := c.receive(r, body, err)
	maps.Copy(w.Header(), answer.header)
	w.WriteHeader(answer.status)
	_, _ = w.Write(answer.body.Bytes()) // whoever left before the answer sends it again

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
	// Not the action nor the reason: a stranger's text.
	c.log.Info("received a webhook", "status", answer.status, "ok", hook.Refused == "")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told(hook, seen)
}

// receive has a webhook verified whose body was read, or failed to be. One at a
// time: that is how what the receiver found is told from what it found of others.
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
		c.receiver = c.newReceiver() // which forgets the nonces, too; their webhooks are old by the timestamp soon
	}
	c.receiver.ServeHTTP(out, in)
	return out, c.observed
}

// failing is a body that cannot be read.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// An answer is kept until it is known what to show of it.
type answer struct {
	status int
	header http.Header
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(p []byte) (int, error) { return a.body.Write(p) }

// told lists a webhook, and takes over what it says if it was accepted. The
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

// of returns the extension that the provider calls so: of several, which cannot
// be but for those that are gone, the latest. The console is locked.
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

// hear takes over what a webhook says of an extension. The console is locked.
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
		return // it says nothing new
	case flyext.Ready:
		x.state = stateReady
	case flyext.Failed:
		x.state = stateFailed
	case flyext.Provisioning:
		x.state = stateProvisioning
	default: // a word of the provider's own: it is not polled
		x.state = stateSaid
	}
	x.said = said.Status
}

// outcomeOf says what came of a webhook.
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
