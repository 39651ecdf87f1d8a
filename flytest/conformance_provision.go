package flytest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/flyext/flyext"
)

var provisionChecks = []check{
	{Requirement{
		ID: "provision", Group: groupProvisioning,
		Text:   "A provision request returns an extension and its secrets",
		Source: sourceAnswers,
		Fix:    `Answer POST {base}/extensions with 200 and a JSON object: {"id": "…", "config": {secrets}} in generation 2, and {secrets} in generation 1.`,
	}, checkProvision},
	{Requirement{
		ID: "budget", Group: groupProvisioning,
		Text:   "The provider answers before Fly.io stops waiting",
		Source: sourceStatus,
		Fix:    `Answer at once, with the secrets and the status "provisioning". Finish the work afterwards, and then answer GET with the status "ready".`,
	}, checkBudget},
	{Requirement{
		ID: "secret-values", Group: groupProvisioning,
		Text:   "Every secret is a JSON string",
		Source: sourceSecrets,
		Fix:    "Convert numbers, booleans and null to strings, or leave them out: flyctl crashes on any value that is not a string.",
	}, checkSecretValues},
	{Requirement{
		ID: "secret-names", Group: groupProvisioning,
		Text:   "Every secret's name is a valid environment variable name",
		Source: sourceSecrets,
		Fix:    "Use only letters, digits and underscores in names, and no digit at the start.",
	}, checkSecretNames},
	{Requirement{
		ID: "idempotent", Group: groupProvisioning,
		Text:   "A repeated id returns the same extension and secrets",
		Source: sourceIdempotence,
		Fix:    "Look the id up before you create an extension. If the id exists, answer with its extension, even if the name has changed.",
	}, checkIdempotent},
	{Requirement{
		ID: "concurrent", Group: groupProvisioning,
		Text:   "Concurrent requests with one id create one extension",
		Source: sourceIdempotence,
		Fix:    "Make the id unique in the database. Answer each later request with the extension of the first.",
	}, checkConcurrent},
	{Requirement{
		ID: "blank-name", Group: groupProvisioning,
		Text:   "A provision request may have a blank name",
		Source: sourceIdempotence,
		Fix:    "Choose a name, and return it as \"name\" in the answer.",
	}, checkBlankName},
	{Requirement{
		ID: "same-name", Group: groupProvisioning,
		Text:   "Two organizations can use the same name independently",
		Source: sourceIdempotence,
		Fix:    "Identify extensions only by their id: names collide and change.",
	}, checkSameName},
	{Requirement{
		ID: "unknown-parameters", Group: groupProvisioning,
		Text:   "Unknown parameters are accepted",
		Source: sourceParameters,
		Fix:    "Ignore members that you do not know: Fly.io may add members, and flyctl sends options.",
	}, checkUnknownParameters},
	{Requirement{
		ID: "email-spellings", Group: groupProvisioning,
		Text:   `Both "organization_email" and "email" are accepted`,
		Source: sourceParameters,
		Fix:    "Read the address from either member, and require neither.",
	}, checkEmailSpellings},
	{Requirement{
		ID: "escaped-id", Group: groupProvisioning,
		Text:   "An id may have characters that a path must escape",
		Source: sourceRoutes,
		Fix:    "Match routes with the escaped path, and then unescape the id once.",
	}, checkEscapedID},
}

func checkProvision(ctx context.Context, s *subject) error {
	x, err := s.extension(ctx)
	if err == nil {
		err = s.checkShape(x)
	}
	return err
}

func (s *subject) checkShape(x *extension) error {
	config := x.members["config"].Kind()
	if s.generation() == flyext.Generation1 {
		if config == '{' {
			return &failure{"an object with only secrets", `generation 2's envelope with "config"`}
		}
		return nil
	}
	if err := s.flat(x); err != nil {
		return err
	}
	if config != '{' {
		return &failure{`a "config" that is an object of secrets`, "an answer with " + memberKind(x.members, "config")}
	}
	status := s.mapped(textOf(x.members["status"]))
	if len(x.secrets) == 0 && status != "" && flyext.Status(status) != flyext.Ready {
		return &failure{"the secrets in the first answer, because flyctl does not fetch them later", fmt.Sprintf("no secrets, and the status %q", status)}
	}
	if textOf(x.members["id"]) == "" {
		return &failure{`an "id" that is a non-empty string`, "an answer with " + memberKind(x.members, "id")}
	}
	return nil
}

// memberKind describes the type of a member. It leaves out the value, which may be a
// secret.
func memberKind(members map[string]jsontext.Value, name string) string {
	value, ok := members[name]
	if !ok {
		return fmt.Sprintf("no %q", name)
	}
	if value.Kind() == '"' && textOf(value) == "" {
		return fmt.Sprintf("an empty %q", name)
	}
	return fmt.Sprintf("%q, which is %s", name, kind(value))
}

func checkBudget(ctx context.Context, s *subject) error {
	x, err := s.extension(ctx)
	if err != nil {
		return err
	}
	if took := x.answer.Duration; took > s.Budget {
		return &failure{fmt.Sprintf("an answer within %v", s.Budget), fmt.Sprintf("an answer after %v", took)}
	}
	return nil
}

func checkSecretValues(ctx context.Context, s *subject) error {
	x, err := s.standing(ctx)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(x.secrets)) {
		if value := x.secrets[name]; value.Kind() != '"' {
			return &failure{"secrets that are strings", fmt.Sprintf("%q, which is %s", name, kind(value))}
		}
	}
	return nil
}

// environmentName matches the names of environment variables (POSIX.1-2017, section
// 8.1).
var environmentName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func checkSecretNames(ctx context.Context, s *subject) error {
	x, err := s.standing(ctx)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(x.secrets)) {
		if !environmentName.MatchString(name) {
			return &failure{"names such as LOGJAM_URL", fmt.Sprintf("the name %q", name)}
		}
	}
	return nil
}

// same returns a *failure unless two answers show the same extension.
func same(first, second *extension) error {
	want := "the id and the secrets of the first answer"
	if first.id != second.id {
		return &failure{want, fmt.Sprintf("the id %q, after %q", second.id, first.id)}
	}
	equal := func(a, b jsontext.Value) bool { return a.Kind() == b.Kind() && textOf(a) == textOf(b) }
	if !maps.EqualFunc(first.secrets, second.secrets, equal) {
		return &failure{want, "the same id with other secrets"}
	}
	return nil
}

func checkIdempotent(ctx context.Context, s *subject) error {
	order := s.order()
	first, err := s.provision(ctx, order)
	if err != nil {
		return err
	}
	for _, name := range []string{order.Name, order.Name + "-renamed"} {
		order.Name = name
		again, err := s.provision(ctx, order)
		if err != nil {
			return err
		}
		if err := same(first, again); err != nil {
			return err
		}
	}
	return nil
}

// atOnce is the number of requests that a check sends at the same time.
const atOnce = 8

func checkConcurrent(ctx context.Context, s *subject) error {
	order := s.order()
	var made [atOnce]*extension
	var errs [atOnce]error
	var wg sync.WaitGroup
	for i := range atOnce {
		wg.Go(func() { made[i], errs[i] = s.provision(ctx, order) })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			return err
		}
		if err := same(made[0], made[i]); err != nil {
			return err
		}
	}
	last, err := s.provision(ctx, order)
	if err != nil {
		return err
	}
	return same(made[0], last)
}

func checkBlankName(ctx context.Context, s *subject) error {
	order := s.order()
	order.Name = ""
	_, err := s.provision(ctx, order)
	return err
}

func checkSameName(ctx context.Context, s *subject) error {
	order := s.order()
	first, err := s.provision(ctx, order)
	if err != nil {
		return err
	}
	order.ID, order.OrganizationID, order.OrganizationName = s.newID(), otherOrganization, "Another"
	order.OrganizationEmail = otherOrganization + "@customer.fly.io"
	second, err := s.provision(ctx, order)
	if err != nil {
		return err
	}
	switch {
	case s.generation() == flyext.Generation2 && first.id == second.id:
		return &failure{"a separate extension for each organization", fmt.Sprintf("the extension %q for both", first.id)}
	case len(first.secrets) > 0 && same(&extension{secrets: first.secrets}, &extension{secrets: second.secrets}) == nil:
		return &failure{"different secrets for each organization", "the same secrets for both"}
	}
	return nil
}

// unknownParameters returns some options of flyctl, and a parameter that does not exist.
func unknownParameters() map[string]json.RawMessage {
	return map[string]json.RawMessage{
		"platform":        json.RawMessage(`"rails"`),
		"public":          json.RawMessage(`false`),
		"website":         json.RawMessage(`{"hosts":["a.example"],"size":1.5}`),
		"flytest_unknown": json.RawMessage(`[null,true]`),
	}
}

// withParams adds Params to extra. Params win over parameters of the same name.
func (r *conformanceRun) withParams(extra map[string]json.RawMessage) map[string]json.RawMessage {
	maps.Copy(extra, r.Params)
	return extra
}

func checkUnknownParameters(ctx context.Context, s *subject) error {
	order := s.order()
	order.Extra = s.withParams(unknownParameters())
	x, err := s.provision(ctx, order)
	if err != nil {
		return err
	}
	req := fullUpdate(x)
	if err := s.patch(ctx, x, req); err != nil {
		return tolerate(skipFailure(err, "")) // the check "update" reports it
	}
	req.Extra = unknownParameters()
	return s.patch(ctx, x, req)
}

// tolerate turns a *skip into success. It is for a check whose remaining part may be
// missing.
func tolerate(err error) error {
	if _, ok := err.(*skip); ok {
		return nil
	}
	return err
}

func checkEmailSpellings(ctx context.Context, s *subject) error {
	for _, name := range []string{"organization_email", "email"} {
		order := s.order()
		address, err := json.Marshal(order.OrganizationEmail)
		if err != nil {
			return err
		}
		order.OrganizationEmail = ""
		order.Extra = s.withParams(map[string]json.RawMessage{name: address})
		if _, err := s.provision(ctx, order); err != nil {
			return err
		}
	}
	return nil
}

func checkEscapedID(ctx context.Context, s *subject) error {
	usual, err := s.standing(ctx)
	if err != nil {
		return err
	}
	order := s.order()
	order.ID += " a/b+ü"
	x, err := s.provision(ctx, order)
	if err != nil {
		return err
	}
	e, err := s.fetch(ctx, usual)
	if err == nil {
		err = s.offered(ctx, e)
	}
	if err != nil {
		return tolerate(skipFailure(err, "")) // the check "fetch" reports it
	}
	if e, err = s.fetch(ctx, x); err != nil {
		return err
	}
	return succeeded(e)
}
