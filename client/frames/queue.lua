-- Decrements and deletes that wait in a queue of this Redis. An entry leaves
-- its queue in the same step in which it is done: so each is done once, however
-- many agents read it, and however often.
--
--    framedb:poison  list: {from, entry, reason, at} of what could not be done,
--                    the newest 10,000

local poison, keep = 'framedb:poison', 10000

local function set_aside(from, entry, reason)
  redis.call('RPUSH', poison, cjson.encode({from = from, entry = entry, reason = reason, at = now()}))
  redis.call('LTRIM', poison, -keep, -1)
end

-- waiting answers up to ARGV[3] entries of a list, the last of which is the next
-- one. ARGV: the list's database and key, and how many.
local function waiting(keys, args)
  redis.call('SELECT', args[1])
  local entries = redis.call('LRANGE', args[2], '-' .. args[3], -1)
  redis.call('SELECT', 0)
  return entries
end

-- claim takes an entry out of its queue and tells whether it was there. ARGV 1
-- to 5: "list" or "stream", its database, its key, the stream's group, and the
-- entry of a list or its ID in a stream.
local function claim(args)
  local there
  redis.call('SELECT', args[2])
  if args[1] == 'list' then
    there = redis.call('LREM', args[3], -1, args[5])
  else
    there = redis.call('XACK', args[3], args[4], args[5])
    if there == 1 then redis.call('XDEL', args[3], args[5]) end
  end
  redis.call('SELECT', 0)
  return there == 1
end

-- settle claims an entry and counts its batch down. ARGV: 1 to 5 as claim, 6
-- the entry as it is set aside when one of its counts is no integer (the others
-- are counted down); then, and KEYS, as decrement. Answers as decrement, or nil
-- when it was not there. The claim comes first: a token that is known (the
-- producer wrote the batch twice) settles the second entry, too.
local function settle(keys, args)
  if not claim(args) then return false end
  return once(keys, function(keys)
    local groups, results = parse(args, 7), {}
    if not pcall(lower, keys, groups, results) then
      raise(keys, groups, results)
      results = {}
      local bad = lower_good(keys, groups, results)
      set_aside(args[3], args[6], 'the count ' .. bad .. ' is no integer; the others were counted down')
    end
    unlink(keys, groups, results)
    return pack(keys, results)
  end)
end

-- reject claims an entry and sets it aside. ARGV: 1 to 6 as settle, and why.
-- Answers 1, or 0 when it was not there.
local function reject(keys, args)
  if not claim(args) then return 0 end
  set_aside(args[3], args[6], args[7])
  return 1
end

-- dead returns nil if the key may be unlinked: the count key of a frame that
-- has no uses left, or one of its data keys. Else it says why not.
local function dead(key)
  local frame = key:match('^ref__(.+%?%d+%?%d+__%d+)$') or key:match('^([^?]+%?%d+%?%d+__%d+)__%w[%w%.%-_]*$')
  if not frame or frame:match('^(.-)%?'):find('__', 1, true) then return 'it is no key of a frame' end
  local kind = redis.call('TYPE', 'ref__' .. frame).ok
  if kind == 'none' then return end
  local n = kind == 'string' and tonumber(redis.call('GET', 'ref__' .. frame))
  if not n then return 'the count of its frame is no integer' end
  if n > 0 then return 'its frame has uses left' end
end

-- delete unlinks keys that wait in a list, in the way of the first FrameDB's
-- clients: they have counted the frame down themselves. ARGV: the list's
-- database and key, and for how many at once. Answers entries taken, keys
-- unlinked, and entries set aside.
local function delete(keys, args)
  redis.call('SELECT', args[1])
  local entries = redis.call('RPOP', args[2], args[3]) or {}
  redis.call('SELECT', 0)
  local gone, bad = 0, 0
  for _, key in ipairs(entries) do
    local why = dead(key)
    if why then
      set_aside(args[2], key, why)
      bad = bad + 1
    else
      gone = gone + redis.call('UNLINK', key)
    end
  end
  return {#entries, gone, bad}
end
