package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"slices"
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
	debuggerTemplate  = parse("debugger.html")
	messageTemplate   = parse("message.html")
)

func parse(name string) *template.Template {
	return template.Must(template.ParseFS(screens, "screens/layout.html", "screens/record.html", "screens/"+name))
}

// policy allows a page to load only its own style sheet and script, by their
// hashes, and to connect only to the console. Links to the provider are allowed,
// because the policy does not restrict links.
var policy = "default-src 'none'; style-src " + hashSource(style) + "; script-src " + hashSource(script) +
	"; connect-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func hashSource(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func serveIcon(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "image/svg+xml")
	_, _ = w.Write([]byte(icon)) // the browser may have gone
}

// A page is the data of the layout.
type page struct {
	Title   string
	Self    string // the URL from which the script fetches it again
	Nav     string // "extensions", "requests", "webhooks", "users", "debugger" or ""
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

// A badge shows a state: a word and a sign in addition to the colour.
type badge struct{ Class, Sign, Text string }

var badges = map[state]badge{
	stateReady:        {"good", "✓", "ready"},
	stateProvisioning: {"wait", "…", "provisioning"},
	stateFailed:       {"bad", "✕", "error"},
	stateRefused:      {"bad", "!", "not provisioned"},
	stateGone:         {"gone", "−", "gone"},
}

// badge returns the badge of the extension. The console is locked.
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
	// The version must not be newer than the state on the page, or the page would
	// stay old.
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
	_, _ = w.Write(body.Bytes()) // the browser may have gone
}

// failPage sends a page that describes a fault.
func (c *Console) failPage(w http.ResponseWriter, status int, title, text string) {
	c.write(w, status, messageTemplate, page{Title: title, Self: "/", Class: "wide", Content: text})
}

func (c *Console) currentVersion() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.version
}
