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
		Text:   "An order is answered with an extension and its secrets",
		Source: sourceAnswers,
		Fix:    `Answer POST {base}/extensions with 200 and a JSON object: {"id": "…", "config": {secrets}} in generation 2, the secrets alone in generation 1.`,
	}, checkProvision},
	{Requirement{
		ID: "budget", Group: groupProvisioning,
		Text:   "The answer comes before Fly.io stops waiting",
		Source: sourceStatus,
		Fix:    `Answer at once, with the secrets and the status "provisioning", and finish the work afterwards; GET tells when it is "ready".`,
	}, checkBudget},
	{Requirement{
		ID: "secret-values", Group: groupProvisioning,
		Text:   "Every secret is a JSON string",
		Source: sourceSecrets,
		Fix:    "Turn numbers, booleans and null into strings, or leave them out: flyctl crashes on anything else.",
	}, checkSecretValues},
	{Requirement{
		ID: "secret-names", Group: groupProvisioning,
		Text:   "Every secret's name can be an environment variable's",
		Source: sourceSecrets,
		Fix:    "Use letters, digits and underscores, and no digit in front.",
	}, checkSecretNames},
	{Requirement{
		ID: "idempotent", Group: groupProvisioning,
		Text:   "The same id again: the same extension and secrets",
		Source: sourceIdempotence,
		Fix:    "Look the id up before you make anything, and answer with what was made for it, whatever its name is now.",
	}, checkIdempotent},
	{Requirement{
		ID: "concurrent", Group: groupProvisioning,
		Text:   "The same id many times at once makes one extension",
		Source: sourceIdempotence,
		Fix:    "Make the id unique in the database, and answer who comes second with what the first one made.",
	}, checkConcurrent},
	{Requirement{
		ID: "blank-name", Group: groupProvisioning,
		Text:   "The name may be blank",
		Source: sourceIdempotence,
		Fix:    "Make up a name, and tell it in the answer's \"name\".",
	}, checkBlankName},
	{Requirement{
		ID: "same-name", Group: groupProvisioning,
		Text:   "Two organizations may use one name, and stay apart",
		Source: sourceIdempotence,
		Fix:    "Key extensions by their id alone: names collide and change.",
	}, checkSameName},
	{Requirement{
		ID: "unknown-parameters", Group: groupProvisioning,
		Text:   "Parameters that are not known are no error",
		Source: sourceParameters,
		Fix:    "Ignore members that you do not know: Fly.io adds some, and flyctl sends options.",
	}, checkUnknownParameters},
	{Requirement{
		ID: "email-spellings", Group: groupProvisioning,
		Text:   `The e-mail comes as "organization_email" or "email"`,
		Source: sourceParameters,
		Fix:    "Read both, and demand neither.",
	}, checkEmailSpellings},
	{Requirement{
		ID: "escaped-id", Group: groupProvisioning,
		Text:   "An id may have characters that a path must escape",
		Source: sourceRoutes,
		Fix:    "Match routes by the escaped path, and unescape the id afterwards, once.",
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
			return &failure{"an object of secrets alone", `generation 2's envelope with "config"`}
		}
		return nil
	}
	if err := s.flat(x); err != nil {
		return err
	}
	if config != '{' {
		return &failure{`"config", an object of secrets`, "an answer with " + memberKind(x.members, "config")}
	}
	status := s.mapped(textOf(x.members["status"]))
	if len(x.secrets) == 0 && status != "" && flyext.Status(status) != flyext.Ready {
		return &failure{"the secrets at once: nobody asks for them again", fmt.Sprintf("none, and the status %q", status)}
	}
	if textOf(x.members["id"]) == "" {
		return &failure{`"id", a string that is not empty`, "an answer with " + memberKind(x.members, "id")}
	}
	return nil
}

// memberKind says what a member is without saying what it holds.
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
		return &failure{fmt.Sprintf("an answer within %v", s.Budget), fmt.Sprintf("one after %v", took)}
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
			return &failure{"strings", fmt.Sprintf("%q, which is %s", name, kind(value))}
		}
	}
	return nil
}

// environmentName is what a shell can have a variable of (POSIX.1-2017, section
// 8.1).
var environmentName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func checkSecretNames(ctx context.Context, s *subject) error {
	x, err := s.standing(ctx)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(x.secrets)) {
		if !environmentName.MatchString(name) {
			return &failure{"names like LOGJAM_URL", fmt.Sprintf("%q", name)}
		}
	}
	return nil
}

// same is a failure unless two answers are of one extension.
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

// atOnce is how many requests a check sends at the same time.
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
		return &failure{"an extension of its own", fmt.Sprintf("%q, which is the other organization's", first.id)}
	case len(first.secrets) > 0 && same(&extension{secrets: first.secrets}, &extension{secrets: second.secrets}) == nil:
		return &failure{"secrets of its own", "those of the other organization"}
	}
	return nil
}

// unknownParameters are some of what flyctl sends, and one that nobody does.
func unknownParameters() map[string]json.RawMessage {
	return map[string]json.RawMessage{
		"platform":        json.RawMessage(`"rails"`),
		"public":          json.RawMessage(`false`),
		"website":         json.RawMessage(`{"hosts":["a.example"],"size":1.5}`),
		"flytest_unknown": json.RawMessage(`[null,true]`),
	}
}

// withParams adds the author's parameters, which come first.
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
		return tolerate(skipFailure(err, "")) // for another check
	}
	req.Extra = unknownParameters()
	return s.patch(ctx, x, req)
}

// tolerate is for a check that has seen enough where the rest is not offered.
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
		return tolerate(skipFailure(err, "")) // for another check
	}
	if e, err = s.fetch(ctx, x); err != nil {
		return err
	}
	return succeeded(e)
}
