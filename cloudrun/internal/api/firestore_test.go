package api

import (
	"strings"
	"testing"
)

// Databases of Firestore are made, listed, read and deleted, where an emulator runs.
func TestFirestoreDatabases(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	const host, databases, one = "firestore.googleapis.com", "/v1/projects/local-project/databases", "/v1/projects/local-project/databases/(default)"
	if got := w.refused(400, "GET", host, one, ""); !strings.Contains(got, "-firestore") {
		t.Errorf("without an emulator: %s", got)
	}
	w.s.Firestore = "127.0.0.1:1"
	w.refused(404, "GET", host, one, "")
	w.refused(400, "POST", host, databases, "{}")
	w.refused(400, "POST", host, databases+"?databaseId=(default)", "null")
	operation := w.do(200, "POST", host, databases+"?databaseId=(default)", `{"type":"FIRESTORE_NATIVE","locationId":"nam5"}`)
	if operation["done"] != true {
		t.Errorf("operation %v", operation)
	}
	w.refused(409, "POST", host, databases+"?databaseId=(default)", "{}")
	if d := w.do(200, "GET", host, one, ""); text(d, "name") != one[len("/v1/"):] || text(d, "type") != "FIRESTORE_NATIVE" || text(d, "locationId") != "nam5" {
		t.Errorf("database %v", d)
	}
	if all, _ := w.do(200, "GET", host, databases, "")["databases"].([]any); len(all) != 1 {
		t.Errorf("databases %v", all)
	}
	w.do(200, "DELETE", host, one, "")
	w.refused(404, "GET", host, one, "")
}
