package s3test

import (
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync"
)

// Proxy is the server behind faults that it cannot be made to show by itself.
type Proxy struct {
	Endpoint string // host:port

	pass *httputil.ReverseProxy

	mu    sync.Mutex
	fault Fault
}

// Fault looks at a request and answers it, true, or lets it pass, false. It is
// called from many goroutines.
type Fault func(http.ResponseWriter, *http.Request) bool

// Proxy starts a proxy that ends with the test.
func (s *Server) Proxy() *Proxy {
	p := s.newProxy()
	srv := httptest.NewServer(p)
	s.t.Cleanup(srv.Close)
	p.Endpoint = srv.Listener.Addr().String()
	return p
}

// ProxyTLS is Proxy with TLS. It gives the path of the authority's certificate.
func (s *Server) ProxyTLS() (p *Proxy, caFile string) {
	s.t.Helper()
	p = s.newProxy()
	srv := httptest.NewUnstartedServer(p)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // of those who do not trust it
	srv.StartTLS()
	s.t.Cleanup(srv.Close)
	p.Endpoint = srv.Listener.Addr().String()
	caFile = filepath.Join(s.dir, "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(caFile, text, 0o600); err != nil {
		s.t.Fatal(err)
	}
	return p, caFile
}

func (s *Server) newProxy() *Proxy {
	to := &url.URL{Scheme: "http", Host: s.Endpoint}
	return &Proxy{pass: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host // it is signed
		},
		Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) {
			panic(http.ErrAbortHandler) // no server, no answer
		},
	}}
}

// ServeHTTP answers with the fault, or as the server does.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	fault := p.fault
	p.mu.Unlock()
	if fault == nil || !fault(w, r) {
		p.pass.ServeHTTP(w, r)
	}
}

// Pass lets the server have a request whose answer goes nowhere.
func (p *Proxy) Pass(r *http.Request) { p.pass.ServeHTTP(httptest.NewRecorder(), r) }

// Fail sets the fault; nil passes everything on.
func (p *Proxy) Fail(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = f
}

// Refuse answers as S3 does.
func Refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>%s</Message></Error>`, code, message)
}
