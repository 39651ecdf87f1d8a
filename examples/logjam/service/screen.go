package service

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"strings"

	"github.com/flyext/flyext"
)

//go:embed screens
var screenFiles embed.FS

var (
	streamTemplate       = parseScreen("stream")
	organizationTemplate = parseScreen("organization")
	messageTemplate      = parseScreen("message")
	deleteTemplate       = parseScreen("delete")
)

func parseScreen(name string) *template.Template {
	return template.Must(template.ParseFS(screenFiles, "screens/layout.html", "screens/activities.html", "screens/"+name+".html"))
}

// screenStyle is in every page: one request less than a file of its own, and
// allowed by its hash.
var screenStyle = func() string {
	style, err := screenFiles.ReadFile("screens/style.css")
	if err != nil {
		panic(err) // it is embedded
	}
	return string(style)
}()

// screenPolicy allows that style, and a form that leads back here; no script,
// no frame, no image, and nothing from elsewhere.
var screenPolicy = func() string {
	hash := sha256.Sum256([]byte(screenStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) +
		"' 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}()

// setScreenHeaders keeps what customers see out of caches, and what they do out
// of other sites' reach. The referrer policy is not no-referrer, which would take
// the origin from the sign-out's request too, and that is known by it in browsers
// without Sec-Fetch-Site.
func setScreenHeaders(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", screenPolicy)
	h.Set("Referrer-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
}

// A screen is a page to answer with, or a redirect to another.
type screen struct {
	template *template.Template
	status   int
	title    string
	content  any
	redirect string
}

// write answers. After an error nothing is answered yet.
func (page *screen) write(w http.ResponseWriter, r *http.Request, s *session) error {
	setScreenHeaders(w.Header())
	if page.redirect != "" {
		http.Redirect(w, r, page.redirect, http.StatusSeeOther)
		return nil
	}
	var html bytes.Buffer // so that half a page is never sent
	err := page.template.ExecuteTemplate(&html, "layout.html", map[string]any{
		"Style": template.CSS(screenStyle), "Title": page.title, "Session": s, "Content": page.content,
	})
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(page.status)
	_, _ = html.WriteTo(w) // whoever left before the answer cannot be told so
	return nil
}

// A message is the content of a page that says one thing.
type message struct {
	Text               string
	Command            string // to type in a terminal, or ""
	LinkPath, LinkText string // or ""
}

func messageScreen(status int, title string, content message) *screen {
	return &screen{template: messageTemplate, status: status, title: title, content: content}
}

type streamContent struct {
	Stream     streamView
	Activities []activity
	Done       string // what was just done, or ""
}

type organizationContent struct {
	Streams    []streamView
	Activities []activity
	Done       string // what was just done, or ""
}

// A streamView is what is shown of a stream: of its secret, the name.
type streamView struct {
	ID, Name      string
	Status        string
	Asleep        bool
	Plan          string
	Machine       string
	PrimaryRegion string
	ReadRegions   string
	Address       string
	SecretName    string
}

func viewOf(s *stream) streamView {
	view := streamView{
		ID: s.id, Name: s.name, Status: string(s.status), Asleep: s.status == asleep, Plan: s.plan, Machine: s.machineID,
		PrimaryRegion: s.primaryRegion, ReadRegions: strings.Join(s.readRegions, ", "), SecretName: secretName,
	}
	if s.ipAddress.IsValid() {
		view.Address = s.ipAddress.String()
	}
	return view
}

// contentOfStream returns what a stream's screen shows; ok is false for another
// screen, and for none.
func (page *screen) contentOfStream() (view streamView, ok bool) {
	if page == nil {
		return view, false
	}
	content, ok := page.content.(streamContent)
	return content.Stream, ok
}

// Title is what a person knows the stream by.
func (v streamView) Title() string { return cmp.Or(v.Name, v.ID) }

// Path is where its screen is.
func (v streamView) Path() string { return destinationPath(flyext.Destination{ExtensionID: v.ID}) }

// OrganizationTitle is what a person knows the organization by.
func (s *session) OrganizationTitle() string { return cmp.Or(s.OrganizationName, s.OrganizationID) }

// OrganizationPath is where its screen is.
func (s *session) OrganizationPath() string {
	return destinationPath(flyext.Destination{OrganizationID: s.OrganizationID})
}
