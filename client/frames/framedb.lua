-- Counts frames down: all of a batch in one atomic step, once for each token.
--
-- KEYS[1]     the token's key; "" remembers nothing
-- KEYS[2..]   the count keys, ref__P__n, group by group, none of them twice
-- ARGV        for each group: how many keys, by how much, how many sizes, sizes
--
-- Answers a MessagePack array with an integer for each count key, in order:
--    n > 0    what is left
--    -1       there was no count; nothing was created
--    -2 - d   the count came to zero or below: it is gone, and d data keys too
-- A count that is no integer answers BADCOUNT and its key, and changes nothing.

local remember_ms = 600000
local at_once = 5000 -- unpack() holds 8,000 values at most

-- parse returns the groups, each with its first and last index in keys.
local function parse(args)
  local groups, key, arg = {}, 2, 1
  while arg <= #args do
    local g = {first = key, last = key + tonumber(args[arg]) - 1, by = args[arg + 1], sizes = {}}
    for i = 1, tonumber(args[arg + 2]) do g.sizes[i] = args[arg + 2 + i] end
    groups[#groups + 1] = g
    key, arg = g.last + 1, arg + 3 + #g.sizes
  end
  return groups
end

-- all_there tells quickly whether every count of a group exists, as is usual.
local function all_there(keys, g)
  for from = g.first, g.last, at_once do
    local to = math.min(from + at_once - 1, g.last)
    if redis.call('EXISTS', unpack(keys, from, to)) ~= to - from + 1 then return false end
  end
  return true
end

-- lower decrements the counts into results. At a count that is no integer it
-- takes everything back and returns the key.
local function lower(keys, groups, results)
  local call, pcall = redis.call, redis.pcall
  for at, g in ipairs(groups) do
    local by, all = g.by, all_there(keys, g)
    for i = g.first, g.last do
      if not all and call('EXISTS', keys[i]) == 0 then
        results[i - 1] = -1
      else
        local n = pcall('DECRBY', keys[i], by)
        if type(n) == 'table' then
          for back = 1, at do
            local h = groups[back]
            for j = h.first, math.min(h.last, i - 1) do
              if results[j - 1] ~= -1 then call('INCRBY', keys[j], h.by) end
            end
          end
          return keys[i]
        end
        results[i - 1] = n > 0 and n or -2
      end
    end
  end
end

-- unlink removes the counts that came to zero, with the data of their sizes.
local function unlink(keys, groups, results)
  for _, g in ipairs(groups) do
    for i = g.first, g.last do
      if results[i - 1] == -2 then
        local frame, gone = keys[i]:sub(6) .. '__', {keys[i]}
        for s = 1, #g.sizes do gone[s + 1] = frame .. g.sizes[s] end
        results[i - 1] = -1 - redis.call('UNLINK', unpack(gone))
      end
    end
  end
end

local function decrement(keys, args)
  local token = keys[1]
  if token ~= '' then
    local before = redis.call('GET', token)
    if before then return before end
  end
  local groups, results = parse(args), {}
  local bad = lower(keys, groups, results)
  if bad then return redis.error_reply('BADCOUNT ' .. bad) end
  unlink(keys, groups, results)
  local answer = cmsgpack.pack(results)
  if token ~= '' then redis.call('SET', token, answer, 'PX', remember_ms) end
  return answer
end
