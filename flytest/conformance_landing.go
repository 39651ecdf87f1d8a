package flytest

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// landing returns the parts of the URL at which a visit ended. Two visits to the same
// page have the same parts. Of a query it takes only the names, because the values may
// differ.
func landing(v *Visit) []string {
	to := v.Elsewhere
	if to == nil {
		to = v.Last().Request.URL
	}
	path, query, _ := strings.Cut(to.Fragment, "?") // some pages keep a path in the fragment
	parts := append([]string{to.Scheme, to.Host}, strings.Split(to.Path, "/")...)
	parts = append(parts, namesOf(to.RawQuery))
	parts = append(parts, strings.Split(path, "/")...)
	return append(parts, namesOf(query))
}

func namesOf(query string) string {
	values, _ := url.ParseQuery(query) // an invalid pair is left out
	return "?" + strings.Join(slices.Sorted(maps.Keys(values)), "&")
}

// anything stands for a part of a landing that differs from visit to visit.
const anything = "*"

// home returns the landing of an admin who signs in. A provider may answer a refusal
// in any form. Therefore a user counts as signed in if the browser reaches this landing.
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
		return nil, &skip{"two sign-ons of one admin end at different pages"}
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

// entered returns a *failure unless the visit went through the callback and ended at a
// page.
func (s *subject) entered(v *Visit) error {
	last := v.Last()
	if last.Response.StatusCode >= 400 {
		return &failure{"the page of the extension", describe(last)}
	}
	for _, e := range v.Exchanges {
		if strings.HasSuffix(e.Request.URL.Path, "/callback") {
			return nil
		}
	}
	return &failure{"a visit to {base}/callback", "a visit that ended at " + v.Last().Request.URL.Path}
}

// keptOut returns a *failure if a visit ended at the landing of an admin, or with a
// server error.
func (s *subject) keptOut(v *Visit, home []string, what string) error {
	last := v.Last()
	switch status := last.Response.StatusCode; {
	case status >= 500 && status != http.StatusBadGateway && status != http.StatusServiceUnavailable && status != http.StatusGatewayTimeout:
		return &failure{"a refusal of " + what, describe(last)}
	case status < 400 && atHome(home, v):
		return &failure{"a refusal of " + what, "the page that an admin reaches, with " + last.Response.Status}
	}
	return nil
}
