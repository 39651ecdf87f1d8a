package console

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

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

// usersPage shows the users. edited is a form with faults, or nil.
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
	if edited != nil && edited.Key == "" { // a new user, or one who was removed
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

// maxAsked bounds the OAuth requests on the page.
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
