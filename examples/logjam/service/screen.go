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

// screenStyle is part of every page, which saves a request. [screenPolicy] allows
// it by its hash.
var screenStyle = func() string {
	style, err := screenFiles.ReadFile("screens/style.css")
	if err != nil {
		panic(err) // unreachable: the file is embedded
	}
	return string(style)
}()

// screenPolicy is the Content-Security-Policy of every page. It allows
// [screenStyle], style sheets from Logjam, and forms that post to Logjam. It forbids
// everything else, such as scripts, frames and images.
var screenPolicy = func() string {
	hash := sha256.Sum256([]byte(screenStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) +
		"' 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}()

// setScreenHeaders keeps pages out of caches, and out of the reach of other sites.
// The referrer policy is same-origin, because no-referrer would also remove the
// Origin header of the dashboard's own forms. Browsers without Sec-Fetch-Site need
// that header for the cross-origin check.
func setScreenHeaders(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", screenPolicy)
	h.Set("Referrer-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
}

// A screen is a page, or a redirect to a page.
type screen struct {
	template *template.Template
	status   int
	title    string
	content  any
	redirect string
}

// write sends the page. If it returns an error, nothing has been sent.
func (page *screen) write(w http.ResponseWriter, r *http.Request, s *session) error {
	setScreenHeaders(w.Header())
	if page.redirect != "" {
		http.Redirect(w, r, page.redirect, http.StatusSeeOther)
		return nil
	}
	var html bytes.Buffer // send a whole page or none
	err := page.template.ExecuteTemplate(&html, "layout.html", map[string]any{
		"Style": template.CSS(screenStyle), "Title": page.title, "Session": s, "Content": page.content,
	})
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(page.status)
	_, _ = html.WriteTo(w) // an error means that the client has disconnected
	return nil
}

// A message is the content of a page with one message.
type message struct {
	Text               string
	Command            string // command to run in a terminal; "" means none
	LinkPath, LinkText string // "" means no link
}

func messageScreen(status int, title string, content message) *screen {
	return &screen{template: messageTemplate, status: status, title: title, content: content}
}

type streamContent struct {
	Stream     streamView
	Activities []activity
	Done       string // confirmation of a change; "" means none
}

type organizationContent struct {
	Streams    []streamView
	Activities []activity
	Done       string // confirmation of a change; "" means none
}

// A streamView holds what a page shows of a stream. It has the name of the
// stream's secret, and not its value.
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

// contentOfStream returns the stream that a page shows. It returns false if page
// is nil or shows something else.
func (page *screen) contentOfStream() (view streamView, ok bool) {
	if page == nil {
		return view, false
	}
	content, ok := page.content.(streamContent)
	return content.Stream, ok
}

// Title returns the stream's name or, if it has no name, its id.
func (v streamView) Title() string { return cmp.Or(v.Name, v.ID) }

// Path returns the path of the stream's page.
func (v streamView) Path() string { return destinationPath(flyext.Destination{ExtensionID: v.ID}) }

// OrganizationTitle returns the organization's name or, if it has no name, its id.
func (s *session) OrganizationTitle() string { return cmp.Or(s.OrganizationName, s.OrganizationID) }

// OrganizationPath returns the path of the organization's page.
func (s *session) OrganizationPath() string {
	return destinationPath(flyext.Destination{OrganizationID: s.OrganizationID})
}
