package cloudruntest_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/amammay/otorun/cloudrun/cloudruntest"
)

// This is how a test of one's own looks: two services, of which ana may call the
// shop, and the shop the orders.
func TestExample(t *testing.T) {
	var run *cloudruntest.Run
	orders := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "3 orders")
	})
	shop := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		resp, err := run.Client("shop").Get("http://orders/")
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		fmt.Fprint(w, "The shop has ")
		io.Copy(w, resp.Body)
	})
	run = cloudruntest.Start(t,
		cloudruntest.Service{Name: "orders", Handler: orders, Invokers: []string{"shop"}},
		cloudruntest.Service{Name: "shop", Handler: shop, Invokers: []string{"user:ana@example.com"}},
	)

	for _, call := range []struct {
		caller, url string
		want        string
	}{
		{caller: "ana@example.com", url: "http://shop/", want: "200 OK: The shop has 3 orders"},
		{caller: "shop", url: "http://orders/", want: "200 OK: 3 orders"},
		{caller: "ana@example.com", url: "http://orders/", want: "403 Forbidden"},
		{caller: "", url: "http://shop/", want: "403 Forbidden"},
	} {
		resp, err := run.Client(call.caller).Get(call.url)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		got := resp.Status
		if resp.StatusCode == http.StatusOK {
			got += ": " + string(body)
		}
		if got != call.want {
			t.Errorf("%q calls %s: %s, want %s", call.caller, call.url, got, call.want)
		}
	}
}
