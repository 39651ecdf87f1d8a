package flyext

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// parseBaseURL parses Config.BaseURL. It refuses URLs that clients rewrite, because no
// request would match them.
func parseBaseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("flyext: Config.BaseURL: %w", err)
	}
	path := strings.TrimRight(u.EscapedPath(), "/")
	switch {
	case strings.ContainsAny(text, " \t\r\n"):
		return nil, errors.New("flyext: Config.BaseURL must not contain white space")
	case u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		return nil, errors.New("flyext: Config.BaseURL must begin with https:// or http:// and a host")
	case hasMoreThanPath(u):
		return nil, errors.New("flyext: Config.BaseURL must not have a user, a query or a fragment")
	}
	if err := checkHost(u); err != nil {
		return nil, err
	}
	if err := checkBasePath(path); err != nil {
		return nil, err
	}
	return u.Parse(u.Scheme + "://" + u.Host + path)
}

// hasMoreThanPath reports whether a URL has a user, a query or a fragment.
func hasMoreThanPath(u *url.URL) bool {
	return u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != ""
}

// checkHost refuses hosts and ports that no request can have.
func checkHost(u *url.URL) error {
	if strings.ContainsFunc(u.Host, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return fmt.Errorf("flyext: Config.BaseURL: the host %q is not ASCII; use its ASCII form, which begins with xn--", u.Hostname())
	}
	if port := u.Port(); port != "" || strings.HasSuffix(u.Host, ":") {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("flyext: Config.BaseURL: port %q must be between 1 and 65535", port)
		}
	}
	return nil
}

// checkBasePath refuses paths that clients normalize (RFC 3986, section 6.2.2).
func checkBasePath(path string) error {
	if path == "" {
		return nil
	}
	for _, element := range strings.Split(path[1:], "/") {
		if element == "" || element == "." || element == ".." {
			return fmt.Errorf("flyext: Config.BaseURL: the path must not contain the element %q", element)
		}
	}
	normal := percentEscape.ReplaceAllStringFunc(path, func(escape string) string {
		if char, _ := url.PathUnescape(escape); unreserved.MatchString(char) {
			return char
		}
		return strings.ToUpper(escape)
	})
	if path != normal {
		return fmt.Errorf("flyext: Config.BaseURL: write the path as %q, as clients do", normal)
	}
	return nil
}

var (
	percentEscape = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)
	unreserved    = regexp.MustCompile(`^[A-Za-z0-9._~-]$`) // never escaped (RFC 3986, section 2.3)
)
