// Package packages is a definition in several files and packages, with types of
// one name.
package packages

import "github.com/pacedotdev/oto/testdata/types/packages/more"

type Service interface{ Echo(Both) Both }

type Both struct {
	Own   Money
	Other more.Money
}
