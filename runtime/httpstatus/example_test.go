package httpstatus_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/httpstatus"
)

func ExampleWrite() {
	handler := func(w http.ResponseWriter, r *http.Request) {
		err := af.Errorf(af.ErrNotFound, "no item %q", "milk") // of a call
		httpstatus.Write(w, r, err)
	}
	w := httptest.NewRecorder()
	handler(w, httptest.NewRequest("GET", "/price?item=milk", nil))
	fmt.Println(w.Code, w.Header().Get("Content-Type"))
	fmt.Print(strings.ReplaceAll(w.Body.String(), ",", ",\n"))
	// Output:
	// 404 application/problem+json
	// {"type":"about:blank",
	// "title":"Not Found",
	// "status":404,
	// "detail":"no item \"milk\"",
	// "code":"not_found",
	// "outcome":"unknown",
	// "retryable":false}
}

func ExampleRead() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		httpstatus.Write(w, r, af.Errorf(af.ErrNotFound, "no item %q", "milk"))
	}))
	defer server.Close()
	resp, err := http.Get(server.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	err = httpstatus.Read(resp)
	fmt.Println(errors.Is(err, af.ErrNotFound), err)
	// Output: true not_found: no item "milk"
}

// A program adds what its clients need to know.
func ExampleProblem() {
	p := httpstatus.ProblemOf(af.NewError(af.ErrUnavailable, "dial tcp 10.0.0.7:5672: connection refused"))
	p.Detail = "The shop opens at nine."
	w := httptest.NewRecorder()
	w.Header().Set("Retry-After", "3600")
	p.Write(w)
	fmt.Println(w.Code, w.Header().Get("Retry-After"), strings.Contains(w.Body.String(), "10.0.0.7"))
	// Output: 503 3600 false
}
