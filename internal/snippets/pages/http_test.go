package pages

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/snippets/shop"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/httpstatus"
)

// routes returns the HTTP API of the shop.
func routes(app *af.App) http.Handler {
	client := shop.NewShopClient(app, af.Timeout(2*time.Second))
	receipts := shop.NewReceiptQueue(app)
	mux := http.NewServeMux()

	mux.HandleFunc("POST /price", func(w http.ResponseWriter, r *http.Request) {
		var order shop.Order
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&order); err != nil {
			httpstatus.Write(w, r, af.Errorf(af.ErrInvalidArgument, "body: %v", err))
			return
		}
		cents, err := client.Price(r.Context(), order)
		if err != nil {
			httpstatus.Write(w, r, err)
			return
		}
		writeJSON(w, http.StatusOK, map[string]int{"cents": cents})
	})

	// A task takes longer than a request: answer 202 with its id.
	mux.HandleFunc("POST /receipts", func(w http.ResponseWriter, r *http.Request) {
		var order shop.Order
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&order); err != nil {
			httpstatus.Write(w, r, af.Errorf(af.ErrInvalidArgument, "body: %v", err))
			return
		}
		var opts []af.SubmitOption
		if key := r.Header.Get("Idempotency-Key"); key != "" {
			opts = append(opts, af.TaskID("receipt-"+key)) // a repeated request gets the same task
		}
		id, err := receipts.Submit(r.Context(), order, opts...)
		if err != nil {
			httpstatus.Write(w, r, err)
			return
		}
		w.Header().Set("Location", "/receipts/"+id)
		writeJSON(w, http.StatusAccepted, map[string]string{"id": id})
	})

	mux.HandleFunc("GET /receipts/{id}", func(w http.ResponseWriter, r *http.Request) {
		task, err := receipts.Get(r.Context(), r.PathValue("id"))
		if err != nil {
			httpstatus.Write(w, r, err)
			return
		}
		answer := map[string]any{"status": task.Status}
		if task.Status == af.StatusSuccess {
			answer["receipt"] = task.Result
		}
		writeJSON(w, http.StatusOK, answer)
	})
	return mux
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // an error means that the client has gone
}

func run(ctx context.Context, app *af.App) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := app.Start(ctx); err != nil {
		return errors.Join(err, app.Shutdown(context.WithoutCancel(ctx)))
	}
	server := &http.Server{Addr: "127.0.0.1:8080", Handler: routes(app), ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()

	var err error
	select {
	case err = <-failed: // it could not listen
	case <-ctx.Done():
	}
	stop() // a second signal kills the process
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), 25*time.Second)
	defer cancel()
	err = errors.Join(err, server.Shutdown(drain)) // finishes requests, which may still call
	return errors.Join(err, app.Shutdown(drain))
}

func TestHTTP(t *testing.T) {
	compare(t, "http.md", "http_test.go", "func routes", "func run")
	app := open(t)
	server := httptest.NewServer(routes(app))
	defer server.Close()
	request := func(method, path, body, key string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Idempotency-Key", key)
		response, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, strings.TrimSpace(string(text))
	}
	for _, tt := range []struct {
		name, path, body, key string
		status                int
		answer                string
	}{
		{"call", "/price", `{"item":"tea","count":3}`, "", 200, `{"cents":750}`},
		{"not_found", "/price", `{"item":"beer","count":3}`, "", 404, `{"type":"about:blank","title":"Not Found",` +
			`"status":404,"detail":"no item \"beer\"","code":"not_found","outcome":"answered","retryable":false}`},
		{"no_json", "/price", `{`, "", 400, `{"type":"about:blank","title":"Bad Request","status":400,` +
			`"detail":"body: unexpected EOF","code":"invalid_argument","outcome":"unknown","retryable":false}`},
		{"task", "/receipts", `{"item":"tea","count":2}`, "k1", 202, `{"id":"receipt-k1"}`},
		{"repeated", "/receipts", `{"item":"tea","count":2}`, "k1", 202, `{"id":"receipt-k1"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if status, answer := request(http.MethodPost, tt.path, tt.body, tt.key); status != tt.status || answer != tt.answer {
				t.Errorf("%d %s, want %d %s", status, answer, tt.status, tt.answer)
			}
		})
	}
	if _, err := shop.NewReceiptQueue(app).Wait(t.Context(), "receipt-k1"); err != nil {
		t.Fatal(err)
	}
	const want = `{"receipt":"2 × tea: 5.00","status":"success"}`
	if status, answer := request(http.MethodGet, "/receipts/receipt-k1", "", ""); status != 200 || answer != want {
		t.Errorf("%d %s, want 200 %s", status, answer, want)
	}
	if status, answer := request(http.MethodGet, "/receipts/none", "", ""); status != 404 {
		t.Errorf("%d %s", status, answer)
	}
}

func TestInternalErrorsAreHidden(t *testing.T) {
	w := httptest.NewRecorder()
	httpstatus.Write(w, httptest.NewRequest(http.MethodGet, "/", nil), errors.New("password is secret"))
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "secret") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// The program ends when its context does.
func TestRunStops(t *testing.T) {
	app, err := af.Open(t.Context(), memory.New(), af.Logger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, app) }()
	testkit.Succeeds(t, "ready", app.Ready)
	cancel()
	if err := <-ended; err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, syscall.EADDRINUSE) {
		t.Error(err) // another program of the machine may use the port
	}
}
