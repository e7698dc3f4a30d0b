// Package anonymous has structs without a name, which get that of their field.
package anonymous

type Service interface{ Echo(Order) Order }

type Order struct {
	// Address is where to.
	Address struct {
		// Street is required here.
		Street string
		Geo    *struct{ Lat, Long float64 }
	}
	Lines  []struct{ Count int }
	ByName map[string]struct{}
	Texts  Page[string]
	Counts Page[int]
}

// OrderLines has the name that Order's Lines would get.
type OrderLines struct{ Other string }

// Page has a struct without a name in each of its instances.
type Page[T any] struct {
	Meta struct{ First, Last T }
}
