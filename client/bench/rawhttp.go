package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// rawHTTP is one keep-alive connection that sends the same request again and
// again, without pipelining. It does no more than it must: the generator
// shares two cores with what it measures.
type rawHTTP struct {
	conn    net.Conn
	in      *bufio.Reader
	request []byte
}

// answerLimit bounds one exchange.
const answerLimit = 10 * time.Second

func dialHTTP(ctx context.Context, network, addr string, request []byte) (*rawHTTP, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &rawHTTP{conn: conn, in: bufio.NewReaderSize(conn, 16<<10), request: request}, nil
}

// httpRequest builds the bytes of a request; a body makes it a JSON POST.
func httpRequest(path, body string) []byte {
	if body == "" {
		return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: agent\r\n\r\n", path)
	}
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: agent\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
}

// do is one exchange.
//
// Errors: of the connection, or any status but 200 and 201.
func (h *rawHTTP) do(context.Context) error {
	if _, err := h.conn.Write(h.request); err != nil {
		return err
	}
	return readAnswer(h.in)
}

// readAnswer reads one answer to its end.
func readAnswer(in *bufio.Reader) error {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 20")) {
		return fmt.Errorf("the agent says %s", bytes.TrimSpace(line))
	}
	length, chunked, err := readHeader(in)
	if err != nil {
		return err
	}
	if chunked {
		return discardChunks(in)
	}
	_, err = in.Discard(length)
	return err
}

// readHeader returns how the body ends.
func readHeader(in *bufio.Reader) (length int, chunked bool, err error) {
	length = -1
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return 0, false, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(": "))
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil || length < 0 {
				return 0, false, fmt.Errorf("Content-Length is %q", value)
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = bytes.Equal(value, []byte("chunked"))
		}
	}
	if length < 0 && !chunked {
		return 0, false, io.ErrUnexpectedEOF
	}
	return length, chunked, nil
}

func discardChunks(in *bufio.Reader) error {
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		n, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 31)
		if err != nil {
			return fmt.Errorf("chunk of size %q", bytes.TrimSpace(line))
		}
		if _, err := in.Discard(int(n) + len("\r\n")); err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
	}
}
