package httpapi

import "github.com/gin-gonic/gin"

// WriteFrame answers with a frame.
func WriteFrame(c *gin.Context, frame []byte) { writeBody(c, 0, contentRaw, frame) }

// FramesInHand is how many bytes of frames the budget counts now.
func (s *Server) FramesInHand() int64 {
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	return maxFrameBytes - s.budget.left
}

// Listings is how many lists of frames are made now.
func (s *Server) Listings() int64 {
	s.listings.mu.Lock()
	defer s.listings.mu.Unlock()
	return maxListings - s.listings.left
}

// LeaveFrames leaves n bytes of the budget of frames.
func (s *Server) LeaveFrames(n int64) (giveBack func()) { return leave(s.budget, maxFrameBytes-n) }

// LeaveAnswers leaves n bytes of the budget of large answers.
func (s *Server) LeaveAnswers(n int64) (giveBack func()) { return leave(s.answers, maxAnswerBytes-n) }

func leave(b *budget, taken int64) func() {
	hold, err := b.take(taken)
	if err != nil {
		panic(err)
	}
	return hold.release
}

// DataPaths is how many clusters' data paths are kept.
func (s *Server) DataPaths() int {
	s.paths.mu.Lock()
	defer s.paths.mu.Unlock()
	return len(s.paths.known)
}

// TransferMemory is how many bytes of memory transfers of objects hold now.
func (s *Server) TransferMemory() int64 {
	s.transfers.mu.Lock()
	defer s.transfers.mu.Unlock()
	return maxTransferMemory - s.transfers.left
}
