// Package foreign has types of other packages, which are referred to.
package foreign

import (
	"net/http"

	"github.com/pacedotdev/oto/testdata/types/foreign/context"
	other "github.com/pacedotdev/oto/testdata/types/foreign/http"
)

type Service interface{ Echo(Foreign) Foreign }

type Foreign struct {
	Header http.Header
	// Amount is of a package with the name of one that templates import.
	Amount context.Amount
	All    []*other.Request
	Money  Money
	Theirs other.Money
}

// Money is the definition's, beside another package's.
type Money struct{ Mine int }
