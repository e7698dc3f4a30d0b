package otohttp_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/pacedotdev/oto/otohttp"
)

// GreetRequest, GreetResponse and GreeterService are what oto generates from a
// definition.
type GreetRequest struct {
	Name string `json:"name"`
}

type GreetResponse struct {
	Greeting string `json:"greeting"`
}

type GreeterService interface {
	Greet(context.Context, GreetRequest) (*GreetResponse, error)
}

func RegisterGreeterService(server *otohttp.Server, service GreeterService) {
	otohttp.Handle(server, "GreeterService", "Greet", service.Greet)
}

// greeter is what one writes oneself.
type greeter struct{}

func (greeter) Greet(_ context.Context, request GreetRequest) (*GreetResponse, error) {
	if request.Name == "" {
		return nil, otohttp.Errorf(otohttp.InvalidArgument, "GreetRequest.Name is required")
	}
	return &GreetResponse{Greeting: "Hello " + request.Name}, nil
}

func Example() {
	server := otohttp.NewServer()
	RegisterGreeterService(server, greeter{})
	listener := httptest.NewServer(server)
	defer listener.Close()

	for _, body := range []string{`{"name":"Mat"}`, `{}`, `{"name":1}`} {
		response, err := http.Post(listener.URL+"/oto/GreeterService.Greet", "application/json", strings.NewReader(body))
		if err != nil {
			fmt.Println(err)
			return
		}
		answer, _ := io.ReadAll(response.Body)
		response.Body.Close()
		fmt.Println(response.StatusCode, string(answer))
	}
	// Output:
	// 200 {"greeting":"Hello Mat"}
	// 400 {"error":"GreetRequest.Name is required","code":"invalid_argument"}
	// 400 {"error":"request body: name: want string, got number (at byte 9)","code":"invalid_argument"}
}

func ExampleErrorf() {
	cause := fmt.Errorf("taco.db: page 7 is torn")
	err := otohttp.Errorf(otohttp.DataLoss, "the tacos of %s are lost", "Sammy Sosa").WithCause(cause)

	recorder := httptest.NewRecorder()
	_ = otohttp.WriteError(recorder, httptest.NewRequest(http.MethodPost, "/", nil), err)
	fmt.Println("client gets:", recorder.Code, recorder.Body)
	fmt.Println("log gets:   ", err)
	// Output:
	// client gets: 500 {"error":"the tacos of Sammy Sosa are lost","code":"data_loss"}
	// log gets:    the tacos of Sammy Sosa are lost: taco.db: page 7 is torn
}
