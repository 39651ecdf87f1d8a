package console

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/flyext/flyext/flytest"
)

// The limits of the form.
const (
	maxUsers       = 50
	maxMemberships = 20
)

// defaultUsers are an admin and a member of one organization, and a user of
// another organization.
func defaultUsers() []flytest.User {
	of := func(id, name, role string) []flytest.UserOrganization {
		return []flytest.UserOrganization{{OrganizationID: id, OrganizationName: name, Role: role}}
	}
	return []flytest.User{
		{ID: "k9d01lp82rky6vo2", Name: "Nathan", Organizations: of("g1lx9my4pzemqwk7", "Collider", "admin")},
		{ID: "0vogzmzoj1k5xp29", Name: "Emmy", Organizations: of("g1lx9my4pzemqwk7", "Collider", "member")},
		{ID: "5lgmabb3y30qwe71", Name: "Stranger", Organizations: of("x3o8nk1mzqp05rvd", "Anticollider", "admin")},
	}
}

// A userForm is a user in a form.
type userForm struct {
	Key    string // makes the ids of its elements unique
	Was    string // the saved id of the user; "" for a new user
	ID     string
	Name   string
	Email  string
	Rows   []flytest.UserOrganization // the last one is blank, for another organization
	Errors []string
}

func newUserForm(key string, u flytest.User) userForm {
	return userForm{Key: key, Was: u.ID, ID: u.ID, Name: u.Name, Email: u.Email, Rows: append(slices.Clone(u.Organizations), flytest.UserOrganization{Role: "member"})}
}

// Title returns the name of the user on the page.
func (f userForm) Title() string { return clip(orElse(f.Name, f.Was), 80) }

// userFormOf reads a form. A row without an organization is skipped.
func userFormOf(values url.Values) userForm {
	text := func(t string) string { return strings.TrimSpace(strings.ToValidUTF8(t, "\uFFFD")) }
	f := userForm{Was: values.Get("was"), ID: text(values.Get("id")), Name: text(values.Get("name")), Email: text(values.Get("email"))}
	ids, names, roles := values["organization_id"], values["organization_name"], values["role"]
	if len(names) != len(ids) || len(roles) != len(ids) {
		f.fail("The form is incomplete: each organization needs an id, a name and a role.")
		return f
	}
	if len(ids) > maxMemberships+1 {
		f.fail(fmt.Sprintf("A user can be in at most %d organizations.", maxMemberships))
		return f
	}
	for i := range ids {
		row := flytest.UserOrganization{OrganizationID: text(ids[i]), OrganizationName: text(names[i]), Role: text(roles[i])}
		f.Rows = append(f.Rows, row)
		if row.OrganizationID == "" && row.OrganizationName != "" {
			f.fail("An organization has a name but no id. To remove the user from it, empty both.")
		}
		if row.OrganizationID != "" && slices.ContainsFunc(f.Rows[:i], func(m flytest.UserOrganization) bool { return m.OrganizationID == row.OrganizationID }) {
			f.fail("The organization " + clip(row.OrganizationID, 60) + " is listed twice.")
		}
		if row.OrganizationID != "" && row.Role == "" {
			f.fail("A role is missing.")
		}
	}
	if f.ID == "" {
		f.fail("Enter an id.")
	}
	for _, text := range append([]string{f.ID, f.Name, f.Email}, slices.Concat(ids, names, roles)...) {
		if utf8.RuneCountInString(text) > maxText {
			f.fail(fmt.Sprintf("A text is longer than %d characters.", maxText))
			break
		}
	}
	return f
}

func (f *userForm) fail(text string) { f.Errors = append(f.Errors, text) }

// user returns the user of the form.
func (f userForm) user() flytest.User {
	u := flytest.User{ID: f.ID, Name: f.Name, Email: f.Email}
	for _, row := range f.Rows {
		if row.OrganizationID != "" {
			u.Organizations = append(u.Organizations, row)
		}
	}
	return u
}

func (c *Console) serveUsers(w http.ResponseWriter, r *http.Request) {
	action := r.PostForm.Get("action")
	f := userFormOf(r.PostForm)
	if action == "remove" {
		f.Errors = nil // the faults of a removed user do not matter
	} else if action != "save" {
		f.fail("Press Save or Remove.")
	}
	if len(f.Errors) > 0 {
		c.usersPage(w, http.StatusUnprocessableEntity, &f, "")
		return
	}
	if refusal := c.setUser(&f, action == "remove"); refusal != "" {
		f.fail(refusal)
		c.usersPage(w, http.StatusConflict, &f, "")
		return
	}
	done := url.Values{"saved": {f.ID}}
	if action == "remove" {
		done = url.Values{"removed": {"1"}}
	}
	http.Redirect(w, r, "/users?"+done.Encode(), http.StatusSeeOther)
}

// setUser adds, changes or removes a user, here and in the OAuth server.
func (c *Console) setUser(f *userForm, remove bool) (refusal string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := func(id string) int { return slices.IndexFunc(c.users, func(u flytest.User) bool { return u.ID == id }) }
	i := at(f.Was)
	users := slices.Clone(c.users) // others may be reading the old slice
	switch other := at(f.ID); {
	case f.Was != "" && i < 0:
		return "This user was removed in the meantime."
	case remove && f.Was == "":
		return "This user was not saved yet."
	case remove:
		users = slices.Delete(users, i, i+1)
	case other >= 0 && other != i:
		return "Another user has this id."
	case f.Was == "" && len(users) >= maxUsers:
		return fmt.Sprintf("There can be at most %d users.", maxUsers)
	case f.Was == "":
		users = append(users, f.user())
	default:
		users[i] = f.user()
	}
	c.users = users
	if c.oauth != nil {
		c.oauth.SetUsers(users...)
	}
	c.log.Info("changed the users", "users", len(users))
	c.changed("")
	return ""
}
