package runhost

import (
	"iter"
	"maps"
)

// codes has the two letters that stand for a region in the hash form of a host.
// The regions are those of https://docs.cloud.google.com/run/docs/locations
// (April 2026); the codes are those of the live endpoints that
// https://github.com/GoogleCloudPlatform/gcping lists, one service a region.
// Beware of "eu": it is Bangkok, not Europe.
var codes = map[string]string{
	"africa-south1":           "bq",
	"asia-east1":              "de",
	"asia-east2":              "df",
	"asia-northeast1":         "an",
	"asia-northeast2":         "dt",
	"asia-northeast3":         "du",
	"asia-south1":             "el",
	"asia-south2":             "em",
	"asia-southeast1":         "as",
	"asia-southeast2":         "et",
	"asia-southeast3":         "eu",
	"australia-southeast1":    "ts",
	"australia-southeast2":    "km",
	"europe-central2":         "lm",
	"europe-north1":           "lz",
	"europe-north2":           "ma",
	"europe-southwest1":       "no",
	"europe-west1":            "ew",
	"europe-west2":            "nw",
	"europe-west3":            "ey",
	"europe-west4":            "ez",
	"europe-west6":            "oa",
	"europe-west8":            "oc",
	"europe-west9":            "od",
	"europe-west10":           "oe",
	"europe-west12":           "og",
	"me-central1":             "ww",
	"me-central2":             "wx",
	"me-west1":                "zf",
	"northamerica-northeast1": "nn",
	"northamerica-northeast2": "pd",
	"northamerica-south1":     "pv",
	"southamerica-east1":      "rj",
	"southamerica-west1":      "tl",
	"us-central1":             "uc",
	"us-east1":                "ue",
	"us-east4":                "uk",
	"us-east5":                "ul",
	"us-south1":               "vp",
	"us-west1":                "uw",
	"us-west2":                "wl",
	"us-west3":                "wm",
	"us-west4":                "wn",
}

var regions = func() map[string]string {
	m := make(map[string]string, len(codes))
	for region, code := range codes {
		m[code] = region
	}
	return m
}()

// Regions yields the regions of the table with their codes, in no order.
func Regions() iter.Seq2[string, string] { return maps.All(codes) }

// Code returns the two letters that stand for region in a hash host.
func Code(region string) (code string, ok bool) {
	code, ok = codes[region]
	return code, ok
}

// RegionOf returns the region that code stands for.
func RegionOf(code string) (region string, ok bool) {
	region, ok = regions[code]
	return region, ok
}
