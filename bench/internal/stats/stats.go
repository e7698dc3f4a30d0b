// Package stats has what the tables are made with.
package stats

import "slices"

// Median returns the middle of values, or zero without any.
func Median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	n := len(values)
	if n == 0 {
		return 0
	}
	return (values[(n-1)/2] + values[n/2]) / 2
}
