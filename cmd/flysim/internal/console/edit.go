package console

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
)

var editMethods = []string{http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodPut, http.MethodDelete}

var editFields = []field{
	{Name: "edit_method", Label: "Method", Code: true, Required: true, List: "methods"},
	{Name: "edit_path", Label: "Path", Hint: "Below the provider’s base URL, with the query.", Code: true, Required: true},
	{Name: "edit_body", Label: "Body", Hint: "flysim adds the timestamp, the nonce and the URL when it signs the request.", Code: true, Rows: 16},
}

func editFormOf(values url.Values) *form { return newForm(values, editFields) }

type editView struct {
	N       int
	Form    *form
	Methods []string
}

// serveEditPage shows a request as a form, without its signature.
func (c *Console) serveEditPage(w http.ResponseWriter, _ *http.Request, r *record) {
	sent := c.wireOf(r)
	if sent == nil || sent.incoming {
		c.failPage(w, http.StatusConflict, "This request cannot be sent again", "Its bytes are no longer kept, or the console received it.")
		return
	}
	d := c.draftOf(sent)
	body := d.body
	var out bytes.Buffer
	if json.Indent(&out, body, "", "  ") == nil {
		body = out.Bytes()
	}
	c.editPage(w, http.StatusOK, r, editFormOf(url.Values{
		"edit_method": {d.method}, "edit_path": {strings.TrimPrefix(d.url, c.base)}, "edit_body": {string(body)},
	}))
}

func (c *Console) editPage(w http.ResponseWriter, status int, r *record, f *form) {
	c.write(w, status, editTemplate, page{
		Title: "Edit and resend", Self: requestPath(r.n) + "/edit", Nav: "requests", Class: "wide", Content: editView{r.n, f, editMethods},
	})
}
