package console_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/cmd/flysim/internal/console"
	"github.com/flyext/flyext/flytest"
)

// graphQL sends a query as flyctl does, and returns the answer in JSON.
func (w *world) graphQL(query, operation string, variables map[string]any) string {
	w.t.Helper()
	body, err := json.Marshal(map[string]any{"query": query, "operationName": operation, "variables": variables})
	if err != nil {
		w.t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, ownURL+"/graphql", strings.NewReader(string(body)))
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	r.Header.Set("Authorization", "Bearer fo1_canary")
	rec := w.do(r)
	if rec.Code != http.StatusOK || rec.Header().Get("Content-Type") != "application/json; charset=utf-8" {
		w.t.Fatalf("%s: %d %s", operation, rec.Code, rec.Body)
	}
	return rec.Body.String()
}

func (w *world) wantGraphQL(query, operation string, variables map[string]any, want string) {
	w.t.Helper()
	if got := w.graphQL(query, operation, variables); got != want {
		w.t.Errorf("%s:\ngot  %s\nwant %s", operation, got, want)
	}
}

// onlyExtension returns the path of the page of the only extension.
func (w *world) onlyExtension() string {
	w.t.Helper()
	found := regexp.MustCompile(`href="(/extensions/[0-9]+)"`).FindStringSubmatch(w.page("/"))
	if found == nil {
		w.t.Fatal("there is no extension")
	}
	return found[1]
}

const createQuery = "\nmutation Make ($in: CreateAddOnInput!) {\n\tcreateAddOn(input: $in) {\n\t\taddOn {\n\t\t\t...Made\n\t\t}\n\t}\n}\nfragment Made on AddOn {\n\tname\n\tssoLink\n\tenvironment\n\tprimaryRegion\n}\n"

func registered(change func(*flytest.Registration)) func(*console.Config) {
	return func(c *console.Config) {
		c.Registration = flytest.Registration{DisplayName: "Logjam", ResourceName: "log stream", ProvisioningInstructions: "flyctl ext logjam --help"}
		if change != nil {
			change(&c.Registration)
		}
	}
}

// A customer without an app creates, lists, shows, opens, updates and destroys an
// extension.
func TestFlyctlOrganization(t *testing.T) {
	t.Parallel()
	l := newLogjam()
	w := newWorld(t, l.handler(t, providerBase, ""), registered(nil))

	// An anonymous query in one line, as fly-go compacts it.
	w.wantGraphQL(`query($slug: String!) { organization(slug: $slug) { id internalNumericId slug name type billable limitedAccessTokens { nodes { id name expiresAt user { email } } } } }`, "",
		map[string]any{"slug": "o"}, `{"data":{"organization":{"id":"o","internalNumericId":"1","slug":"o","name":"o","type":"SHARED","billable":true,"limitedAccessTokens":{"nodes":[]}}}}`)
	w.wantGraphQL(`query P($n: String!) { addOnProvider(name: $n) { ...F } } fragment F on AddOnProvider { id name displayName tosUrl asyncProvisioning autoProvision selectName selectRegion selectReplicaRegions detectPlatform resourceName nameSuffix beta tosAgreement internal provisioningInstructions excludedRegions { code } }`, "P",
		map[string]any{"n": "arcjet"}, `{"data":{"addOnProvider":{"id":"arcjet","name":"arcjet","displayName":"Logjam","tosUrl":"http://localhost:4000","asyncProvisioning":false,"autoProvision":false,"selectName":true,"selectRegion":false,"selectReplicaRegions":false,"detectPlatform":false,"resourceName":"log stream","nameSuffix":"","beta":false,"tosAgreement":"These are the terms of a simulator.","internal":false,"provisioningInstructions":"flyctl ext logjam --help","excludedRegions":[]}}}`)
	w.wantGraphQL(`query T($p: String!) { viewer { __typename ... on User { agreed: agreedToProviderTos(providerName: $p) } ... on Macaroon { email } } }`, "T",
		map[string]any{"p": "arcjet"}, `{"data":{"viewer":{"__typename":"User","agreed":true}}}`)
	w.wantGraphQL(`mutation A($p: String!) { createExtensionTosAgreement(input: {addOnProviderName: $p}) { clientMutationId } }`, "A",
		map[string]any{"p": "arcjet"}, `{"data":{"createExtensionTosAgreement":{"clientMutationId":null}}}`)
	w.wantGraphQL(`query G($slug: String!) { organization(slug: $slug) { ...O } } fragment O on Organization { id slug rawSlug paidPlan addOnSsoLink provisionsBetaExtensions name billable }`, "G",
		map[string]any{"slug": "o"}, `{"data":{"organization":{"id":"o","slug":"o","rawSlug":"o","paidPlan":true,"addOnSsoLink":"http://logjam.test/flyio/organizations/o/sso","provisionsBetaExtensions":true,"name":"o","billable":true}}}`)

	made := w.graphQL(createQuery, "Make", map[string]any{"in": map[string]any{
		"clientMutationId": "", "organizationId": "o", "appId": "", "name": "x", "type": "arcjet", "planId": "", "organizationPlanId": "",
		"primaryRegion": "", "readRegions": nil, "options": map[string]any{"website": map[string]any{"domain_name": "a.example"}},
	}})
	if !strings.HasPrefix(made, `{"data":{"createAddOn":{"addOn":{"name":"x","ssoLink":"http://logjam.test/flyio/extensions/lj-`) || !strings.Contains(made, `"LOGJAM_TOKEN":"token-of-`) {
		t.Fatalf("created: %s", made)
	}
	var sent flyext.ProvisionRequest
	l.set(func(l *logjam) {
		for _, r := range l.streams {
			sent = r
		}
	})
	if sent.OrganizationID != "o" || sent.UserID != "k9d01lp82rky6vo2" || sent.UserRole != "admin" || string(sent.Extra["website"]) != `{"domain_name":"a.example"}` || sent.Name != "x" {
		t.Errorf("the provider got %+v", sent)
	}
	w.wantAll(w.page("/users"), "o</bdi>") // they can now open the dashboard

	w.wantGraphQL(`query L($t: AddOnType) { addOns(type: $t) { nodes { name primaryRegion organization { slug } addOnPlan { displayName } } } }`, "L",
		map[string]any{"t": "arcjet"}, `{"data":{"addOns":{"nodes":[{"name":"x","primaryRegion":"","organization":{"slug":"o"},"addOnPlan":{"displayName":"default"}}]}}}`)
	w.wantGraphQL(`query L($s: String!, $t: AddOnType!) { organization(slug: $s) { addOns(type: $t) { nodes { name } } } }`, "L",
		map[string]any{"s": "o", "t": "arcjet"}, `{"data":{"organization":{"addOns":{"nodes":[{"name":"x"}]}}}}`)
	w.wantGraphQL(`{ addOns(type: tigris) { nodes { name } } organization(slug: "o") { addOns(type: tigris) { nodes { name } } } }`, "", nil,
		`{"data":{"addOns":{"nodes":[]},"organization":{"addOns":{"nodes":[]}}}}`)
	w.wantGraphQL(`{ organization(slug: "other") { addOns(type: arcjet) { nodes { name } } } }`, "", nil, `{"data":{"organization":{"addOns":{"nodes":[]}}}}`)
	shown := w.graphQL(`query S($name: String, $provider: String) { addOn(name: $name, provider: $provider) { ...D app { id } addOnProvider { name } readRegions privateIp } } fragment D on AddOn { name status errorMessage metadata options ssoLink }`, "S",
		map[string]any{"name": "x", "provider": "arcjet"})
	if !strings.Contains(shown, `"name":"x","status":"ready","errorMessage":null,"metadata":null,"options":{"website":{"domain_name":"a.example"}},"ssoLink":"http://logjam.test/flyio/extensions/lj-`) || !strings.Contains(shown, `"app":null,"addOnProvider":{"name":"arcjet"},"readRegions":[],"privateIp":null`) {
		t.Errorf("shown: %s", shown)
	}
	w.wantGraphQL(`query K($o: String!, $p: String!) { organization(slug: $o) { extensionSsoLink(provider: $p) } }`, "K",
		map[string]any{"o": "o", "p": "arcjet"}, `{"data":{"organization":{"extensionSsoLink":"http://logjam.test/flyio/organizations/o/sso"}}}`)

	id := w.graphQL(`{ addOn(name: "x") { id } }`, "", nil)
	id = strings.TrimSuffix(strings.TrimPrefix(id, `{"data":{"addOn":{"id":"`), `"}}}`)
	w.wantGraphQL(`mutation U($id: ID!, $plan: ID!, $regions: [String!]!, $options: JSON!, $meta: JSON!) { updateAddOn(input: {addOnId: $id, planId: $plan, readRegions: $regions, options: $options, metadata: $meta}) { addOn { metadata options addOnPlan { id } } } }`, "U",
		map[string]any{"id": id, "plan": "pro", "regions": []string{}, "options": map[string]any{"public": true}, "meta": map[string]any{"m": 1}},
		`{"data":{"updateAddOn":{"addOn":{"metadata":{"m":1},"options":{"public":true},"addOnPlan":{"id":"pro"}}}}}`)
	w.wantGraphQL(`mutation D($n: String, $p: String) { deleteAddOn(input: {name: $n, provider: $p}) { deletedAddOnName } }`, "D",
		map[string]any{"n": "x", "p": "arcjet"}, `{"data":{"deleteAddOn":{"deletedAddOnName":"x"}}}`)
	w.wantGraphQL(`{ addOns { nodes { name } } }`, "", nil, `{"data":{"addOns":{"nodes":[]}}}`)
	l.set(func(l *logjam) {
		if len(l.streams) != 0 {
			t.Errorf("the provider still has %v", l.streams)
		}
	})
	w.wantAll(w.page("/requests?kind=flyctl"), "POST /graphql", "Make: answered", "D: answered", "organization: answered")
	if page := w.page("/requests?q=fo1_canary"); !strings.Contains(page, "No request matches") {
		t.Error("the feed has the person's token")
	}
}

// flyctlReads has the fields that flyctl v0.4.80 reads, by type.
var flyctlReads = map[string]string{
	"App":          `id name deployed platformVersion cnameTarget secrets { name } organization { ...OrganizationFields } addOns(type: arcjet) { nodes { id } }`,
	"Organization": `id slug rawSlug paidPlan addOnSsoLink provisionsBetaExtensions name billable billingStatus extensionSsoLink(provider: "arcjet")`,
	"AddOnProvider": `id name displayName tosUrl asyncProvisioning autoProvision selectName selectRegion selectReplicaRegions detectPlatform
		resourceName nameSuffix beta tosAgreement internal provisioningInstructions excludedRegions { code }`,
	"AddOnPlan": `id name displayName description`,
	"AddOn": `id name primaryRegion status errorMessage metadata options publicUrl privateIp password readRegions ssoLink environment
		organization { ...OrganizationFields } addOnProvider { ...AddOnProviderFields } app { ...AppFields } addOnPlan { ...AddOnPlanFields }`,
}

// Each field that flyctl reads has a value or is null, for an extension of an app.
func TestFlyctlFields(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newLogjam().handler(t, providerBase, ""), registered(nil))
	w.graphQL(createQuery, "Make", map[string]any{"in": map[string]any{"appId": "collider", "organizationId": "g1lx9my4pzemqwk7", "name": "logs", "type": "arcjet"}})
	query := `query Q { addOn(name: "logs") { ...AddOnFields } }`
	for of, fields := range flyctlReads {
		query += " fragment " + of + "Fields on " + of + " { " + fields + " }"
	}
	var answer struct {
		Errors []any
		Data   struct {
			AddOn struct {
				Name, Status string
				App          map[string]any
			}
		}
	}
	if err := json.Unmarshal([]byte(w.graphQL(query, "Q", nil)), &answer); err != nil || len(answer.Errors) > 0 {
		t.Fatalf("flyctl's fields: %v, %v", err, answer.Errors)
	}
	on := answer.Data.AddOn
	if _, ok := on.App["cnameTarget"]; on.Name != "logs" || on.Status != "ready" || on.App["name"] != "collider" || !ok {
		t.Errorf("the extension is %+v", on)
	}
}

// A customer's app gets secrets, which then exist.
func TestFlyctlApp(t *testing.T) {
	t.Parallel()
	l := newLogjam()
	w := newWorld(t, l.handler(t, providerBase, ""), registered(func(r *flytest.Registration) { r.Async, r.SelectRegion = true, true }))
	const app = `query A($name: String!, $t: AddOnType!) { app(name: $name) { id name deployed organization { id slug } addOns(type: $t) { nodes { name } } } }`
	w.wantGraphQL(app, "A", map[string]any{"name": "collider", "t": "arcjet"},
		`{"data":{"app":{"id":"collider","name":"collider","deployed":false,"organization":{"id":"g1lx9my4pzemqwk7","slug":"collider"},"addOns":{"nodes":[]}}}}`)
	platform := w.graphQL(`query { platform { requestRegion regions { name code latitude longitude gatewayAvailable requiresPaidPlan } } }`, "", nil)
	if !strings.Contains(platform, `"code":"fra","latitude":0`) {
		t.Errorf("the regions are %s", platform)
	}
	l.set(func(l *logjam) { l.slow = true })
	w.graphQL(createQuery, "Make", map[string]any{"in": map[string]any{"appId": "collider", "organizationId": "g1lx9my4pzemqwk7", "name": "logs", "type": "arcjet", "primaryRegion": "fra"}})
	const status = `query ($n: String) { addOn(name: $n) { status errorMessage primaryRegion app { name } } }`
	w.wantGraphQL(status, "", map[string]any{"n": "logs"}, `{"data":{"addOn":{"status":"provisioning","errorMessage":null,"primaryRegion":"fra","app":{"name":"collider"}}}}`)
	l.set(func(l *logjam) { l.finished = flyext.Failed })
	w.post(w.onlyExtension()+"/fetch", nil)
	w.wantGraphQL(status, "", map[string]any{"n": "logs"}, `{"data":{"addOn":{"status":"error","errorMessage":"The region is full.","primaryRegion":"fra","app":{"name":"collider"}}}}`)

	w.wantGraphQL(`query A($name: String!) { app(name: $name) { secrets { name } } }`, "A", map[string]any{"name": "collider"}, `{"data":{"app":{"secrets":[]}}}`)
	w.wantGraphQL(`mutation S($input: SetSecretsInput!) { setSecrets(input: $input) { release { version user { id } } } }`, "S",
		map[string]any{"input": map[string]any{"appId": "collider", "replaceAll": false, "secrets": []any{map[string]any{"key": "LOGJAM_TOKEN", "value": "v"}}}},
		`{"data":{"setSecrets":{"release":{"version":1,"user":{"id":"k9d01lp82rky6vo2"}}}}}`)
	w.wantGraphQL(`query A($name: String!) { app(name: $name) { secrets { name } } }`, "A", map[string]any{"name": "collider"}, `{"data":{"app":{"secrets":[{"name":"LOGJAM_TOKEN"}]}}}`)
	w.wantGraphQL(app, "A", map[string]any{"name": "collider", "t": "arcjet"},
		`{"data":{"app":{"id":"collider","name":"collider","deployed":false,"organization":{"id":"g1lx9my4pzemqwk7","slug":"collider"},"addOns":{"nodes":[{"name":"logs"}]}}}}`)
	if got := w.page("/v1/apps/collider/machines"); got != "[]" {
		t.Errorf("the machines are %s", got)
	}
	if rec := w.get("/v1/apps/No%20app/machines"); rec.Code != http.StatusNotFound {
		t.Errorf("the machines of no app: %d", rec.Code)
	}
}

// An error reaches flyctl in Fly.io's words: "input:3:2: createAddOn …" consists
// of the place, the path and the message of the error.
func TestFlyctlErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newLogjam().handler(t, providerBase, ""), registered(nil))
	create := func(name string) string {
		return w.graphQL(createQuery, "Make", map[string]any{"in": map[string]any{"organizationId": "o", "name": name, "type": "arcjet"}})
	}
	if got, want := create("taken"), `{"data":{"createAddOn":null},"errors":[{"message":"The name is taken \u003cb\u003ealready\u003c/b\u003e.","path":["createAddOn"],"locations":[{"line":3,"column":2}]}]}`; got != want {
		t.Errorf("refused:\ngot  %s\nwant %s", got, want)
	}
	create("x")
	if got := create("x"); !strings.Contains(got, "Name x is already taken") {
		t.Errorf("a name that is taken: %s", got)
	}
	for name, test := range map[string]struct {
		query, operation string
		variables        map[string]any
		want             string
	}{
		"no extension":         {`{ addOn(name: "none") { id } }`, "", nil, `{"data":{"addOn":null},"errors":[{"message":"Could not find AddOn"`},
		"no field":             {`{ addOn(name: "x") { nothing } }`, "", nil, `Cannot query field`},
		"no operation":         {`query A { platform { requestRegion } }`, "B", nil, `there is no operation`},
		"two without a name":   {`query A { platform { requestRegion } } query B { platform { requestRegion } }`, "", nil, `there is no operation`},
		"missing variable":     {`query A($n: String!) { app(name: $n) { id } }`, "A", nil, `"path":["variable","n"]`},
		"variable of no type":  {`query A($n: String!) { app(name: $n) { id } }`, "A", map[string]any{"n": []int{5}}, `"path":["variable","n"]`},
		"syntax":               {`query {`, "", nil, `"errors":[{"message":"Expected`},
		"endless fragment":     {`{ ...A } fragment A on Query { ...A }`, "", nil, `Cannot spread fragment`},
		"organization of none": {`{ organization(slug: "NO such slug") { id } }`, "", nil, `Could not find Organization`},
		"delete nothing":       {`mutation { deleteAddOn(input: {name: "none"}) { deletedAddOnName } }`, "", nil, `Could not find AddOn`},
		"options of a list":    {`mutation { createAddOn(input: {type: arcjet, name: "y", options: [1]}) { addOn { id } } }`, "", nil, `options is not a JSON object`},
	} {
		if got := w.graphQL(test.query, test.operation, test.variables); !strings.Contains(got, test.want) {
			t.Errorf("%s: %s, want %q in it", name, got, test.want)
		}
	}
	for name, test := range map[string]struct {
		kind, body string
		status     int
	}{
		"a form":    {"application/x-www-form-urlencoded", "query={platform{requestRegion}}", 415},
		"text":      {"text/plain", `{"query":"{platform{requestRegion}}"}`, 415},
		"no JSON":   {"application/json", `{`, 400},
		"too large": {"application/json", `{"query":"` + strings.Repeat(" ", 300<<10) + `"}`, 413},
	} {
		r := httptest.NewRequest(http.MethodPost, ownURL+"/graphql", strings.NewReader(test.body))
		r.Header.Set("Content-Type", test.kind)
		if rec := w.do(r); rec.Code != test.status {
			t.Errorf("%s: %d", name, rec.Code)
		}
	}
}

// Fly.io passes on a secret that is a number, and flyctl crashes.
func TestFlyctlPassesWhatCrashesIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, answering(200, `{"id":"x","config":{"PORT":5432}}`), registered(nil))
	got := w.graphQL(createQuery, "Make", map[string]any{"in": map[string]any{"organizationId": "o", "name": "n", "type": "arcjet"}})
	if !strings.Contains(got, `"environment":{"PORT":5432}`) {
		t.Errorf("got %s", got)
	}
	w.wantAll(w.page(w.onlyExtension()), "is a number")
}

// A page of another site can neither provision nor read.
func TestAttackGraphQLCrossSite(t *testing.T) {
	t.Parallel()
	asked := false
	w := newWorld(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	for _, header := range []http.Header{
		{"Sec-Fetch-Site": {"cross-site"}, "Content-Type": {"application/json"}},
		{"Sec-Fetch-Site": {"same-site"}, "Content-Type": {"application/json"}},
		{"Origin": {"https://evil.example"}, "Content-Type": {"application/json"}},
		{"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}, "Content-Type": {"text/plain"}},
	} {
		r := httptest.NewRequest(http.MethodPost, ownURL+"/graphql", strings.NewReader(`{"query":"mutation { createAddOn(input: {type: arcjet}) { addOn { id environment } } }"}`))
		r.Header = header
		if rec := w.do(r); rec.Code != http.StatusForbidden {
			t.Errorf("%v: %d", header, rec.Code)
		}
	}
	if asked {
		t.Error("the provider got a request")
	}
}

// A deep or wide query costs little.
func TestAttackGraphQLCost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newLogjam().handler(t, providerBase, ""))
	for range 20 {
		w.provision(strings.ToLower(http.MethodGet) + strings.Repeat("x", len(w.page("/"))%7))
	}
	deep := strings.Repeat("organization { addOns { nodes { ", 40) + "name" + strings.Repeat(" } } }", 40)
	for name, query := range map[string]string{
		"deep": `{ addOns { nodes { ` + deep + ` } } }`,
		"wide": `{ ` + strings.Repeat("platform { requestRegion } ", 3000) + ` }`,
	} {
		if got := w.graphQL(query, "", nil); len(got) > 4<<20 {
			t.Errorf("%s: %d bytes", name, len(got))
		}
	}
}
