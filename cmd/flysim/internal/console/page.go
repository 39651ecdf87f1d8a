package console

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

//go:embed screens
var screens embed.FS

func screen(name string) string {
	text, err := screens.ReadFile("screens/" + name)
	if err != nil {
		panic(err) // it is embedded
	}
	return string(text)
}

var (
	style, script, icon = screen("style.css"), screen("live.js"), screen("icon.svg")

	provisionTemplate = parse("provision.html")
	extensionTemplate = parse("extension.html")
	usersTemplate     = parse("users.html")
	webhooksTemplate  = parse("webhooks.html")
	requestsTemplate  = parse("requests.html")
	requestTemplate   = parse("request.html")
	editTemplate      = parse("edit.html")
	messageTemplate   = parse("message.html")
)

func parse(name string) *template.Template {
	return template.Must(template.ParseFS(screens, "screens/layout.html", "screens/record.html", "screens/"+name))
}

// policy lets a page load its own style sheet and script, by their hashes, and
// nothing else; and talk to the console alone. A link leads to the provider, as
// links may.
var policy = "default-src 'none'; style-src " + hashSource(style) + "; script-src " + hashSource(script) +
	"; connect-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func hashSource(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func serveIcon(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "image/svg+xml")
	_, _ = w.Write([]byte(icon)) // whoever left before the answer cannot be told so
}

// A page is what the layout shows.
type page struct {
	Title   string
	Self    string // where the script fetches it again
	Nav     string // "extensions", "requests", "webhooks", "users" or ""
	Class   string // of the body
	Current int    // the extension that is shown
	Content any

	// What every page has.
	Style        template.CSS
	Script       template.JS
	Base, Format string
	Version      int64
	Latest       string
	List         []listItem
}

type listItem struct {
	N         int
	Title, ID string
	State     badge
}

// A badge is a state on a page: a word and a sign in addition to the colour.
type badge struct{ Class, Sign, Text string }

var badges = map[state]badge{
	stateReady:        {"good", "✓", "ready"},
	stateProvisioning: {"wait", "…", "provisioning"},
	stateFailed:       {"bad", "✕", "error"},
	stateRefused:      {"bad", "!", "not provisioned"},
	stateGone:         {"gone", "−", "gone"},
}

// badge is what the state of an extension looks like. The console is locked.
func (x *extension) badge() badge {
	if x.state == stateSaid {
		return badge{"said", "•", clip(string(x.said), 30)}
	}
	return badges[x.state]
}

// write completes a page and sends it. The console is not locked.
func (c *Console) write(w http.ResponseWriter, status int, t *template.Template, p page) {
	p.Style, p.Script = template.CSS(style), template.JS(script)
	p.Base, p.Format = c.base, string(c.format)
	c.mu.Lock()
	// A page that was made of an older state than its version says would stay so.
	if p.Version == 0 {
		p.Version = c.version
	}
	p.Latest = c.latest
	for _, x := range slices.Backward(c.extensions) {
		p.List = append(p.List, listItem{x.n, x.title(), clip(x.id, 60), x.badge()})
	}
	c.mu.Unlock()

	var body bytes.Buffer
	if err := t.ExecuteTemplate(&body, "layout.html", p); err != nil {
		c.log.Error("cannot make a page", "template", t.Name(), "error", err)
		http.Error(w, "The page cannot be made.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Security-Policy", policy)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // whoever left before the answer cannot be told so
}

// failPage says what is wrong, in words.
func (c *Console) failPage(w http.ResponseWriter, status int, title, text string) {
	c.write(w, status, messageTemplate, page{Title: title, Self: "/", Class: "wide", Content: text})
}

type provisionView struct {
	Form      *form
	Customers []customer
	First     bool
	Regions   []string
}

func (c *Console) serveProvisionPage(w http.ResponseWriter, _ *http.Request) {
	c.provisionPage(w, http.StatusOK, blankProvisionForm(c.customers()))
}

func (c *Console) provisionPage(w http.ResponseWriter, status int, f *form) {
	version := c.currentVersion()
	c.mu.Lock()
	first := len(c.extensions) == 0
	c.mu.Unlock()
	c.write(w, status, provisionTemplate, page{
		Title: "Provision", Self: "/", Nav: "extensions", Class: "home", Version: version,
		Content: provisionView{f, c.customers(), first, regions},
	})
}

func (c *Console) currentVersion() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.version
}

type extensionView struct {
	N                     int
	Title                 string
	State                 badge
	Notice                *noticeView
	Last                  *recordView
	Gone                  bool // the provider does not have it
	Dashboard             string
	OrganizationDashboard string
	Warning               string
	SSO                   bool
	Forgettable           bool
	Form                  *form // of an update
	Event                 *eventForm
	Regions               []string
	Terminal              string
	Masked                bool
	Secrets               []headerLine
	NoSecrets             string
	Facts                 []fact
	Records               []recordView
}

type noticeView struct{ Class, Headline, Text string }

type fact struct{ Key, Label, Value string }

type recordView struct {
	N                     int
	What                  action
	Times                 int
	At                    time.Time
	Class, Sign           string
	Headline, Explanation string
	Wire                  *wireView
	Forgotten             bool
	Open                  bool // its exchange is shown

	// On the page of all webhooks: what it is about.
	About               int // the extension, or 0
	AboutTitle, AboutID string
}

func (c *Console) serveExtensionPage(w http.ResponseWriter, _ *http.Request, x *extension) {
	c.extensionPage(w, http.StatusOK, x, c.currentForm(x), blankEventForm())
}

func (c *Console) extensionPage(w http.ResponseWriter, status int, x *extension, update *form, event *eventForm) {
	c.mu.Lock()
	version := c.version
	view := c.view(x)
	c.mu.Unlock()
	view.Form, view.Event, view.Regions = update, event, regions
	c.write(w, status, extensionTemplate, page{
		Title: view.Title, Self: fmt.Sprintf("/extensions/%d", x.n), Nav: "extensions", Class: "one", Current: x.n, Version: version, Content: view,
	})
}

// view is an extension as the page shows it. The console is locked.
func (c *Console) view(x *extension) extensionView {
	v := extensionView{
		N: x.n, Title: x.title(), State: x.badge(), SSO: c.oauth != nil,
		Gone: x.state == stateGone || x.state == stateRefused,
	}
	v.Forgettable = v.Gone
	if !v.Gone {
		v.Dashboard, v.OrganizationDashboard = c.dashboardURL(x.id), c.organizationDashboardURL(x.request.OrganizationID)
		v.Warning = x.warning
	}
	v.Terminal, v.Masked = mask(x.terminal, x.secrets)
	v.Terminal = strings.TrimRight(printable(v.Terminal), "\n")
	for _, name := range slices.Sorted(maps.Keys(x.secrets)) {
		v.Secrets = append(v.Secrets, headerLine{printable(name), x.secrets[name]})
	}
	v.NoSecrets = "The provider sent no secrets."
	if x.state == stateRefused {
		v.NoSecrets = "No secrets: it was not provisioned."
	}
	r := x.request
	customer := orElse(r.UserID, "no user")
	if r.UserRole != "" {
		customer += ", " + r.UserRole
	}
	id := ""
	if x.id != r.ID {
		id = x.id
	}
	for _, f := range []fact{
		{"sent", "Fly.io’s id", r.ID},
		{"id", "Provider’s id", id},
		{"organization", "Organization", strings.TrimSpace(r.OrganizationName + " " + r.OrganizationID)},
		{"user", "Provisioned by", customer},
		{"app", "Fly.io app", x.app},
		{"status", "Status", string(x.said)},
	} {
		if f.Value != "" {
			f.Value = clip(f.Value, 200)
			v.Facts = append(v.Facts, f)
		}
	}
	for _, r := range slices.Backward(x.history) {
		v.Records = append(v.Records, newRecordView(r))
	}
	if len(v.Records) > 0 {
		v.Last = &v.Records[0]
		v.Records[0].Open = !x.last().outcome.ok
	}
	if x.state == stateProvisioning && x.waiting != nil {
		text := "For up to 4 minutes, as flyctl does, until the status is “ready” or “error”."
		if !c.platform.Registration.Async {
			text = "flyctl does not poll, because the provider is not registered as asynchronous."
		}
		v.Notice = &noticeView{"wait", "Polling every 2 s", text}
	}
	return v
}

// mask puts dots in place of the secrets' values, which the page shows on
// demand.
func mask(terminal string, secrets flyext.Secrets) (text string, masked bool) {
	for name, value := range secrets {
		line := "\n" + name + ": " + value + "\n"
		if strings.Contains(terminal, line) {
			terminal = strings.Replace(terminal, line, "\n"+name+": ••••••••\n", 1)
			masked = true
		}
	}
	return terminal, masked
}

func newRecordView(r *record) recordView {
	v := recordView{
		N: r.n, What: r.what, Times: r.times, At: r.at,
		Headline: r.outcome.headline, Explanation: r.outcome.explanation, Forgotten: r.forgotten,
	}
	v.Class, v.Sign = r.look()
	if r.wire != nil {
		v.Wire = newWireView(r.wire)
	}
	return v
}

// look is the class and the sign of a record's outcome.
func (r *record) look() (class, sign string) {
	switch {
	case !r.outcome.ok:
		return "bad", "✕"
	case strings.HasPrefix(r.outcome.headline, "Not ready"):
		return "wait", "…"
	}
	return "good", "✓"
}

// A wireView is an exchange on a page.
type wireView struct {
	Method, Path, Target   string
	Request                []headerLine
	RequestBody            wireBody
	Status                 int
	StatusText, StatusLine string
	Answer                 []headerLine
	AnswerBody             wireBody
	Base                   string
	BaseLength             int
	Took                   string
	Slow                   bool
	Incoming               bool
	Answered               bool
	Masked                 bool
	N                      int
}

// A wireBody is a body, and where its bytes are.
type wireBody struct {
	bodyView
	ID, Link string
}

// budget is how long Fly.io waits.
const budget = 5 * time.Second

func newWireView(w *wire) *wireView {
	path, _, _ := strings.Cut(w.target, "?")
	body := func(part string, bytes []byte) wireBody {
		return wireBody{newBodyView(bytes), fmt.Sprintf("r%d-%s", w.n, part), fmt.Sprintf("/wire/%d/%s", w.n, part)}
	}
	base := w.base
	if len(base) > maxShown {
		base = base[:maxShown] + "…"
	}
	lines := func(lines []headerLine) []headerLine {
		shown := make([]headerLine, len(lines))
		for i, line := range lines {
			shown[i] = headerLine{printable(line.Name), printable(line.Value)}
		}
		return shown
	}
	return &wireView{
		Method: w.method, Path: path, Target: w.target, Request: lines(w.request), RequestBody: body("request", w.requestBody),
		Status: w.status, StatusText: statusWords(w), StatusLine: printable(w.statusText),
		Answer: lines(w.answer), AnswerBody: body("answer", w.answerBody),
		Base: printable(base), BaseLength: len(w.base), Took: took(w.duration), Slow: w.duration > budget && !w.incoming, Incoming: w.incoming,
		Answered: w.answered(), Masked: w.masked, N: w.n,
	}
}

func statusWords(w *wire) string {
	if !w.answered() {
		return "no answer"
	}
	return clip(strings.TrimSpace(fmt.Sprint(w.status, " ", http.StatusText(w.status))), 60)
}

// macOf returns the MAC of an exchange's signature base, or nil where there is
// none. The console is locked.
func (c *Console) macOf(w *wire) *macView {
	secret, name := c.signingSecret, "signing secret"
	if w.incoming {
		secret, name = c.webhookSecret, "webhook secret"
	}
	if w.base == "" || secret == "" {
		return nil
	}
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(w.base))
	sum := h.Sum(nil)
	return &macView{hex.EncodeToString(sum), base64.StdEncoding.EncodeToString(sum), name}
}

func took(d time.Duration) string {
	if d == 0 {
		return ""
	}
	if d < time.Second {
		return fmt.Sprintf("%d ms", max(d.Milliseconds(), 1))
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

type usersView struct {
	SSO           bool
	URL, ClientID string
	RedirectURLs  []string
	Scope         string
	Users         []userView
	New           userView
	Done          string
	Asked         []askedView
}

type userView struct {
	userForm
	User flytest.User
}

type askedView struct {
	N            int
	Method, Path string
	Parameters   []headerLine
}

func (c *Console) serveUsersPage(w http.ResponseWriter, r *http.Request) {
	done := ""
	c.mu.Lock()
	for _, u := range c.users {
		if id := r.URL.Query().Get("saved"); id != "" && u.ID == id {
			done = orElse(u.Name, u.ID) + " is saved."
		}
	}
	c.mu.Unlock()
	if r.URL.Query().Has("removed") {
		done = "The user is removed."
	}
	c.usersPage(w, http.StatusOK, nil, done)
}

// usersPage shows the users. edited is a form that was not taken, or nil.
func (c *Console) usersPage(w http.ResponseWriter, status int, edited *userForm, done string) {
	c.mu.Lock()
	version, users := c.version, c.users
	c.mu.Unlock()
	v := usersView{URL: c.url, Done: done, New: userView{userForm: newUserForm("new", flytest.User{})}}
	v.New.ID = newID()
	for i, u := range users {
		f := newUserForm(fmt.Sprint(i), u)
		if edited != nil && edited.Was == u.ID {
			edited.Key = f.Key
			f = *edited
		}
		v.Users = append(v.Users, userView{f, u})
	}
	if edited != nil && edited.Key == "" { // a new one, or one who is gone
		edited.Key, edited.Was = "new", ""
		v.New = userView{userForm: *edited}
	}
	if c.oauth != nil {
		v.SSO, v.ClientID, v.RedirectURLs, v.Scope = true, c.clientID, c.oauth.RedirectURLs, "read"
		if c.oauth.Generation == flyext.Generation1 {
			v.Scope = `{"organization_id":"…","permission":"admin"}`
		}
		v.Asked = askedOf(c.oauth.Requests())
	}
	c.write(w, status, usersTemplate, page{Title: "Users", Self: "/users", Nav: "users", Class: "wide", Version: version, Content: v})
}

// maxAsked bounds what the page shows of the sign-on's requests.
const maxAsked = 20

func askedOf(requests []flytest.OAuthRequest) []askedView {
	var asked []askedView
	for i, r := range slices.Backward(requests) {
		if len(asked) == maxAsked {
			break
		}
		a := askedView{N: i, Method: clip(r.Method, 20), Path: clip(r.Path, 100)}
		for _, name := range slices.Sorted(maps.Keys(r.Form)) {
			if len(a.Parameters) < 20 {
				a.Parameters = append(a.Parameters, headerLine{clip(name, 60), clip(strings.Join(r.Form[name], " "), 200)})
			}
		}
		asked = append(asked, a)
	}
	return asked
}
