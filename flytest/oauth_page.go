package flytest

import (
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// An organization is an organization of at least one user.
type organization struct{ ID, Name string }

// Label returns the name on the page.
func (o organization) Label() string { return label(o.Name, o.ID) }

func label(name, id string) string {
	if name == "" {
		return id
	}
	return name + " (" + id + ")"
}

// label returns the user's name on the page.
func (u User) label() string { return label(u.Name, u.ID) }

// offered returns the organizations and the roles that can be chosen. The caller
// holds the lock.
func (s *OAuthServer) offered() (organizations []organization, roles []string) {
	roles = []string{"admin", "member"}
	for _, u := range s.users {
		for _, m := range u.Organizations {
			same := func(o organization) bool { return o.ID == m.OrganizationID }
			if i := slices.IndexFunc(organizations, same); i < 0 {
				organizations = append(organizations, organization{m.OrganizationID, m.OrganizationName})
			} else if organizations[i].Name == "" {
				organizations[i].Name = m.OrganizationName
			}
			if !slices.Contains(roles, m.Role) {
				roles = append(roles, m.Role)
			}
		}
	}
	return organizations, roles
}

// A personView is a user on the page.
type personView struct {
	ID, Label, Email string
	Memberships      []string
}

func (s *OAuthServer) choicePage(w http.ResponseWriter, query url.Values, asked authorization) {
	s.mu.Lock()
	organizations, roles := s.offered()
	var people []personView
	for _, u := range s.users {
		p := personView{ID: u.ID, Label: u.label(), Email: u.email()}
		for _, m := range u.Organizations {
			p.Memberships = append(p.Memberships, m.Role+" of "+label(m.OrganizationName, m.OrganizationID))
		}
		people = append(people, p)
	}
	s.mu.Unlock()
	admin := asked.organizationID
	for _, o := range organizations {
		if o.ID == admin {
			admin = o.Label()
		}
	}
	s.writePage(w, http.StatusOK, choiceTemplate, map[string]any{
		"ClientID": s.ClientID, "Back": originOf(query.Get("redirect_uri")), "AdminOf": admin,
		"People": people, "Organizations": organizations, "Roles": roles,
	})
}

func (s *OAuthServer) refusePage(w http.ResponseWriter, status int, refusal string) {
	s.writePage(w, status, refusalTemplate, map[string]any{"Refusal": refusal})
}

func (s *OAuthServer) writePage(w http.ResponseWriter, status int, page *template.Template, data map[string]any) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	// With no-referrer the form's request would lack its origin, which distinguishes
	// this page from other sites.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Content-Security-Policy", s.pagePolicy())
	w.WriteHeader(status)
	data["Style"] = template.CSS(oauthStyle)
	_ = page.Execute(w, data) // fails only if the client has disconnected
}

var oauthStyleSource = func() string {
	sum := sha256.Sum256([]byte(oauthStyle))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}()

// pagePolicy allows the page's style sheet, by its hash, and its form. Chromium
// applies form-action to redirects too, so the policy lists the redirect URLs.
func (s *OAuthServer) pagePolicy() string {
	targets := []string{"'self'"}
	for _, registered := range s.RedirectURLs {
		if source := formTarget(registered); !slices.Contains(targets, source) {
			targets = append(targets, source)
		}
	}
	return "default-src 'none'; style-src " + oauthStyleSource + "; form-action " + strings.Join(targets, " ") +
		"; base-uri 'none'; frame-ancestors 'none'"
}

var policyHost = regexp.MustCompile(`^[A-Za-z0-9.-]+(:[0-9]+)?$`)

// formTarget returns the source expression for a URL's origin. Source expressions
// cannot contain IPv6 addresses (CSP Level 3, section 2.3.1), so for those it
// returns the scheme.
func formTarget(registered string) string {
	u, err := url.Parse(registered)
	if err != nil {
		panic(err) // the URL has been parsed before
	}
	if !policyHost.MatchString(u.Host) {
		return u.Scheme + ":"
	}
	return u.Scheme + "://" + u.Host
}

func originOf(target string) string {
	u, err := url.Parse(target)
	if err != nil {
		panic(err) // the URL has been parsed before
	}
	return u.Scheme + "://" + u.Host
}

const oauthStyle = `
:root { color-scheme: light dark; --line: #c9ced8; --soft: #f3f4f8; --strong: #5b21b6; --on-strong: #fff; --note: #fdf3d0; }
@media (prefers-color-scheme: dark) {
  :root { --line: #454b5a; --soft: #22262f; --strong: #c4b5fd; --on-strong: #1c1233; --note: #3a3216; }
}
* { box-sizing: border-box; }
body { margin: 0; padding: 2rem 1rem; background: Canvas; color: CanvasText; font: 1rem/1.5 system-ui, sans-serif; }
main { max-width: 30rem; margin: 0 auto; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .75rem; }
p { margin: 0 0 1rem; overflow-wrap: anywhere; }
.note { background: var(--note); padding: .5rem .75rem; border-radius: .5rem; font-size: .9375rem; }
fieldset { border: 0; margin: 0 0 1.25rem; padding: 0; min-width: 0; }
legend, .field label { font-weight: 600; padding: 0; margin-bottom: .375rem; display: block; }
.person { display: flex; gap: .75rem; align-items: flex-start; padding: .75rem; margin-bottom: .5rem;
  border: 1px solid var(--line); border-radius: .5rem; cursor: pointer; overflow-wrap: anywhere; }
.person:hover { background: var(--soft); }
.person:has(:checked) { border-color: var(--strong); box-shadow: inset 0 0 0 1px var(--strong); }
.person input { margin: .3rem 0 0; flex: none; accent-color: var(--strong); }
.person small { display: block; }
.field { margin-bottom: 1.25rem; }
select { width: 100%; font: inherit; padding: .5rem; color: inherit; background: Canvas; border: 1px solid var(--line); border-radius: .5rem; }
.buttons { display: flex; flex-wrap: wrap; gap: .75rem; }
button { flex: 1 1 8rem; font: inherit; font-weight: 600; padding: .625rem 1rem; min-height: 2.75rem; cursor: pointer;
  border: 1px solid var(--line); border-radius: .5rem; background: Canvas; color: CanvasText; }
#sign-in { background: var(--strong); color: var(--on-strong); border-color: var(--strong); }
:focus-visible { outline: 3px solid var(--strong); outline-offset: 2px; }
`

const pageHead = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Fly.io simulator: sign in</title>
<style>{{.Style}}</style>
</head>
<body>
<main>
`

const pageFoot = `</main>
</body>
</html>
`

var choiceTemplate = template.Must(template.New("choice").Parse(pageHead + `<p class="note">Simulated Fly.io sign-in for testing. No password needed.</p>
<h1>Sign in to {{.ClientID}}</h1>
<p>The application at <b>{{.Back}}</b> wants to know
{{- if .AdminOf}} whether you are an admin of <b>{{.AdminOf}}</b>.{{else}} who you are, and which organizations you are in.{{end}}</p>
<form id="authorize" method="post">
<fieldset>
<legend>Sign in as</legend>
{{- range $i, $p := .People}}
<label class="person"><input type="radio" name="user" value="{{$p.ID}}" required{{if not $i}} checked{{end}}>
<span><b>{{$p.Label}}</b><small>{{$p.Email}}</small>
{{- range $p.Memberships}}<small>{{.}}</small>{{else}}<small>in no organization</small>{{end}}</span></label>
{{- else}}
<p>There are no users yet.</p>
{{- end}}
</fieldset>
<div class="field"><label for="organization">Organization</label>
<select id="organization" name="organization">
<option value="">all of the user’s organizations</option>
{{- range .Organizations}}
<option value="{{.ID}}">{{.Label}}</option>
{{- end}}
</select></div>
<div class="field"><label for="role">Role</label>
<select id="role" name="role">
<option value="">the user’s own role</option>
{{- range .Roles}}
<option value="{{.}}">{{.}}</option>
{{- end}}
</select></div>
<div class="buttons">
{{- if .People}}
<button id="sign-in" name="action" value="sign-in">Sign in</button>
{{- end}}
<button id="cancel" name="action" value="cancel" formnovalidate>Cancel</button>
</div>
</form>
` + pageFoot))

var refusalTemplate = template.Must(template.New("refusal").Parse(pageHead + `<p class="note">Simulated Fly.io sign-in for testing.</p>
<h1>Sign-in refused</h1>
<p id="refusal">{{.Refusal}}</p>
` + pageFoot))
