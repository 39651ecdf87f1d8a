package flytest

import (
	"context"
)

var provisionChecks = []check{
	{Requirement{
		ID: "provision", Group: "Provisioning",
		Text:   "POST /extensions makes an extension and answers with its secrets",
		Source: "docs/protocol.md#answers",
		Fix:    "Answer POST {base}/extensions with 200 and the secrets, in the shape of the generation.",
	}, checkProvision},
}

func checkProvision(ctx context.Context, s *subject) error {
	_, err := s.extension(ctx)
	return err
}
