package flytest

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// landing is where a visit has come to, in the parts that somebody would know it
// by: of a query, which a refusal may differ in, the names.
func landing(v *Visit) []string {
	to := v.Elsewhere
	if to == nil {
		to = v.Last().Request.URL
	}
	path, query, _ := strings.Cut(to.Fragment, "?") // in which some pages have a path of their own
	parts := append([]string{to.Scheme, to.Host}, strings.Split(to.Path, "/")...)
	parts = append(parts, namesOf(to.RawQuery))
	parts = append(parts, strings.Split(path, "/")...)
	return append(parts, namesOf(query))
}

func namesOf(query string) string {
	values, _ := url.ParseQuery(query) // what is no query has no names
	return "?" + strings.Join(slices.Sorted(maps.Keys(values)), "&")
}

// anything stands in a landing for what is another for each visit.
const anything = "*"

// home finds out where an admin lands. Providers answer a refusal as they like;
// that the browser gets there is how it is known to be let in.
func (s *subject) home(ctx context.Context) ([]string, error) {
	if s.landing != nil {
		return s.landing, nil
	}
	var landings [2][]string
	for i := range landings {
		visit, err := s.signIn(ctx, asAdmin)
		if err == nil {
			err = s.entered(visit)
		}
		if err != nil {
			return nil, err
		}
		landings[i] = landing(visit)
	}
	home, again := landings[0], landings[1]
	if len(home) != len(again) {
		return nil, &skip{"an admin lands in two different places"}
	}
	for i := range home {
		if home[i] != again[i] {
			home[i] = anything
		}
	}
	s.landing = home
	return home, nil
}

func atHome(home []string, v *Visit) bool {
	return slices.EqualFunc(home, landing(v), func(want, got string) bool { return want == anything || want == got })
}

// entered is a failure unless the visit came through the callback to a page.
func (s *subject) entered(v *Visit) error {
	last := v.Last()
	if last.Response.StatusCode >= 400 {
		return &failure{"the extension's screen", describe(last)}
	}
	for _, e := range v.Exchanges {
		if strings.HasSuffix(e.Request.URL.Path, "/callback") {
			return nil
		}
	}
	return &failure{"a way back through {base}/callback", "an end at " + v.Last().Request.URL.Path}
}

// keptOut is a failure if a visit ended where an admin lands, or in a fault of
// the provider's.
func (s *subject) keptOut(v *Visit, home []string, who string) error {
	last := v.Last()
	switch status := last.Response.StatusCode; {
	case status >= 500 && status != http.StatusBadGateway && status != http.StatusServiceUnavailable && status != http.StatusGatewayTimeout:
		return &failure{"a refusal of " + who, describe(last)}
	case status < 400 && atHome(home, v):
		return &failure{"a refusal of " + who, "where an admin gets to, with " + last.Response.Status}
	}
	return nil
}
