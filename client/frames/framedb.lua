-- Counts frames down: all of a batch in one atomic step, once for each token.
--
-- KEYS        the count keys, ref__P__n, group by group, none of them twice
-- KEYS, last  the token's key; "" remembers nothing
-- ARGV        for each group: how many keys, by how much, how many sizes, sizes
--
-- Answers a MessagePack array with a number for each count key, in order:
--    n > 0    what is left; as text from 2^53 on, which Lua's numbers round
--    -1       there was no count; nothing was created
--    -2 - d   the count came to zero or below: it is gone, and d data keys too
-- A count that is no integer answers BADCOUNT and its key, and changes nothing.

local remember_ms = 600000

-- parse returns the groups, each with its first and last index in keys.
local function parse(args)
  local groups, key, arg = {}, 1, 1
  while arg <= #args do
    local g = {first = key, last = key + tonumber(args[arg]) - 1, by = args[arg + 1], sizes = {}}
    for i = 1, tonumber(args[arg + 2]) do g.sizes[i] = args[arg + 2 + i] end
    groups[#groups + 1] = g
    key, arg = g.last + 1, arg + 3 + #g.sizes
  end
  return groups
end

-- raise takes back what lower did, as far as there are results.
local function raise(keys, groups, results)
  for _, g in ipairs(groups) do
    for i = g.first, math.min(g.last, #results) do
      if results[i] ~= -1 then redis.call('INCRBY', keys[i], g.by) end
    end
  end
end

-- lower decrements the counts into results, one after the other, and raises an
-- error at one that is no integer. That costs nothing for the others, while to
-- look at each answer's type costs 7 %; DECR instead of DECRBY saves 3 %. Each
-- group learns which of its keys came to zero.
--
-- A decrement that leaves as much below zero as it took found either zero or no
-- count at all, and then made one: the number of keys tells which. Looking for
-- the counts first would cost a fifth more.
local function lower(keys, groups, results)
  local call = redis.call
  local size = call('DBSIZE')
  for _, g in ipairs(groups) do
    local by, below, one, spent = g.by, -tonumber(g.by), g.by == '1', {}
    g.spent = spent
    for i = g.first, g.last do
      local n = one and call('DECR', keys[i]) or call('DECRBY', keys[i], by)
      if n > 0 then
        results[i] = n
      elseif n == below and call('DBSIZE') > size then
        call('UNLINK', keys[i])
        results[i] = -1
      else
        results[i] = -2
        spent[#spent + 1] = i
      end
    end
  end
end

-- unlink removes the counts that came to zero, with the data of their sizes.
local function unlink(keys, groups, results)
  for _, g in ipairs(groups) do
    for _, i in ipairs(g.spent) do
      local frame, gone = keys[i]:sub(6) .. '__', {keys[i]}
      for s = 1, #g.sizes do gone[s + 1] = frame .. g.sizes[s] end
      results[i] = -1 - redis.call('UNLINK', unpack(gone))
    end
  end
end

-- exact replaces the counts that Lua's numbers round.
local function exact(keys, results)
  for i, n in ipairs(results) do
    if n >= 2^53 then results[i] = redis.call('GET', keys[i]) end
  end
end

-- pack makes the answer. From 2^53 on a number is packed behind the byte 202 or
-- 207. To look for those costs nothing, to compare each count 1.5 %.
local function pack(keys, results)
  local answer = cmsgpack.pack(results)
  if answer:find('\202', 1, true) or answer:find('\207', 1, true) then
    exact(keys, results)
    answer = cmsgpack.pack(results)
  end
  return answer
end

local function decrement(keys, args)
  local token = keys[#keys]
  if token ~= '' then
    local before = redis.call('GET', token)
    if before then return before end
  end
  local groups, results = parse(args), {}
  if not pcall(lower, keys, groups, results) then
    raise(keys, groups, results)
    return redis.error_reply('BADCOUNT ' .. keys[#results + 1])
  end
  unlink(keys, groups, results)
  local answer = pack(keys, results)
  if token ~= '' then redis.call('SET', token, answer, 'PX', remember_ms) end
  return answer
end
