package main

import (
	"encoding/base64"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/pacedotdev/oto/otohttp"

	"github.com/amammay/otorun/generated/server"
	"github.com/amammay/otorun/server/internal/eaters"
)

const (
	maxChars     = 100 // of a name, and of a taco
	maxTacos     = 1000
	defaultLimit = 10
)

// checkEatTaco trims the request's name and checks what the definition's
// constraints can't say, and how many tacos this service keeps.
func checkEatTaco(request *server.EatTacoRequest) error {
	request.Name = strings.TrimSpace(request.Name)
	control, _ := utf8.DecodeRuneInString(request.Name[max(0, strings.IndexFunc(request.Name, unicode.IsControl)):])
	switch {
	case request.Name == "":
		return invalid("EatTacoRequest.Name is required")
	case utf8.RuneCountInString(request.Name) > maxChars:
		return invalid("EatTacoRequest.Name has %d characters, at most %d are allowed", utf8.RuneCountInString(request.Name), maxChars)
	case unicode.IsControl(control):
		return invalid("EatTacoRequest.Name has a control character, %U, which is not allowed", control)
	case len(request.Tacos) > maxTacos:
		return invalid("EatTacoRequest.Tacos has %d tacos, at most %d are allowed", len(request.Tacos), maxTacos)
	}
	for i, taco := range request.Tacos {
		if n := utf8.RuneCountInString(taco); n > maxChars {
			return invalid("EatTacoRequest.Tacos[%d] has %d characters, at most %d are allowed", i, n, maxChars)
		}
	}
	return nil
}

func invalid(format string, args ...any) error {
	return otohttp.Errorf(otohttp.InvalidArgument, "%s", fmt.Sprintf(format, args...))
}

// A page token is the rank of the last eater of a page.
func tokenOf(r eaters.Rank) string { return base64.RawURLEncoding.EncodeToString([]byte(r)) }

func rankOf(token string) (eaters.Rank, error) {
	rank, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || token != "" && !eaters.IsRank(string(rank)) {
		return "", invalid("ListEatersRequest.PageToken is not a NextPageToken of ListEaters")
	}
	return eaters.Rank(rank), nil
}
