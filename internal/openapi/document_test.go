package openapi

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"
)

// A document is docs/openapi.yaml.
type document struct {
	model    *v3.Document
	validate validator.Validator
}

func readDocument(t *testing.T) *document {
	t.Helper()
	text, err := os.ReadFile("../../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := libopenapi.NewDocument(text)
	if err != nil {
		t.Fatal(err)
	}
	model, err := parsed.BuildV3Model()
	if err != nil {
		t.Fatal(err)
	}
	v, errs := validator.NewValidator(parsed)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return &document{&model.Model, v}
}

func TestDocumentIsValid(t *testing.T) {
	t.Parallel()
	if ok, errs := readDocument(t).validate.ValidateDocument(); !ok {
		for _, e := range errs {
			t.Errorf("%s: %s", e.Message, e.Reason)
			for _, s := range e.SchemaValidationErrors {
				t.Errorf("  line %d: %s", s.Line, s.Reason)
			}
		}
	}
}

// pathOf returns the document's path for a request path, or "".
func pathOf(path string) string {
	path, ok := strings.CutPrefix(path, "/flyio")
	parts := strings.Split(path, "/")
	switch {
	case !ok || len(parts) < 2:
		return ""
	case path == "/extensions" || path == "/extensions/events" || path == "/callback":
		return path
	case len(parts) == 3 && parts[1] == "extensions" && parts[2] != "":
		return "/extensions/{extension_id}"
	case len(parts) == 4 && parts[1] == "extensions" && parts[3] == "sso":
		return "/extensions/{extension_id}/sso"
	case len(parts) == 4 && parts[1] == "organizations" && (parts[3] == "sso" || parts[3] == "extensions"):
		return "/organizations/{organization_id}/" + parts[3]
	}
	return ""
}

func operationOf(item *v3.PathItem, method string) *v3.Operation {
	switch method {
	case http.MethodGet:
		return item.Get
	case http.MethodPost:
		return item.Post
	case http.MethodPatch:
		return item.Patch
	case http.MethodDelete:
		return item.Delete
	}
	return nil
}

// check reports how a response differs from the document.
func (d *document) check(r *http.Request, answer *http.Response) error {
	path := pathOf(r.URL.EscapedPath())
	item, ok := d.model.Paths.PathItems.Get(path)
	var operation *v3.Operation
	if ok {
		operation = operationOf(item, r.Method)
	}
	if operation == nil { // unknown path or method: check the error format, which all operations share
		if answer.StatusCode != 404 && answer.StatusCode != 405 {
			return fmt.Errorf("the document has no %s %s", r.Method, path)
		}
		r = httptest.NewRequest(http.MethodPost, baseURL+"/extensions", http.NoBody)
	} else if _, ok := operation.Responses.Codes.Get(fmt.Sprint(answer.StatusCode)); !ok && answer.StatusCode < 400 {
		return fmt.Errorf("%s %s: the document has no status %d", r.Method, path, answer.StatusCode)
	} else if !ok && path != "/callback" && !strings.HasSuffix(path, "/sso") {
		return fmt.Errorf("%s %s: the document has no error %d", r.Method, path, answer.StatusCode)
	}
	if operation != nil && bodyless(operation, answer) {
		return nil
	}
	if ok, errs := d.validate.ValidateHttpResponse(r, answer); !ok {
		var all []error
		for _, e := range errs {
			all = append(all, fmt.Errorf("%s %s, %d: %s: %s", r.Method, path, answer.StatusCode, e.Message, e.Reason))
			for _, s := range e.SchemaValidationErrors {
				all = append(all, errors.New(s.Reason))
			}
		}
		return errors.Join(all...)
	}
	return nil
}

// bodyless reports whether a response has no body where the document allows that.
// OpenAPI can express it only in words.
func bodyless(operation *v3.Operation, answer *http.Response) bool {
	described, ok := operation.Responses.Codes.Get(fmt.Sprint(answer.StatusCode))
	return ok && strings.Contains(described.Description, "A body is not needed") &&
		answer.Header.Get("Content-Type") == "" && answer.ContentLength == 0
}

// TestCheckFindsDifferences checks that check finds each deviation.
func TestCheckFindsDifferences(t *testing.T) {
	t.Parallel()
	d := readDocument(t)
	for name, c := range map[string]struct {
		method, path string
		status       int
		body         string
	}{
		"a numeric secret":           {"POST", "/extensions", 200, `{"id":"x1","config":{"PORT":1}}`},
		"an envelope without id":     {"GET", "/extensions/x1", 200, `{"status":"ready"}`},
		"an error without a message": {"GET", "/extensions/x1", 404, `{"error":"not_found"}`},
		"an unknown status":          {"GET", "/extensions/x1", 418, `{"error":"teapot","message":"No."}`},
		"an object, not a list":      {"GET", "/organizations/o1/extensions", 200, `{}`},
	} {
		answer := &http.Response{StatusCode: c.status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(c.body))}
		if d.check(httptest.NewRequest(c.method, baseURL+c.path, nil), answer) == nil {
			t.Errorf("%s: no difference found", name)
		}
	}
}
