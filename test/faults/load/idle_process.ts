import { connect as connectSocket, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { monotonicMs } from '../../../bench/lib/worker.js'
import {
  commands,
  decodeBody,
  encodeFrame,
  type Frame,
  FrameDecoder,
  frameFlags,
  protocolVersion,
  protocolVersionMin,
  readErrorBody,
} from '../../../protocol/index.js'
import { serveCalls } from './calls.js'

/** The calls to a process of idle connections. */
export type IdleCalls = {
  open(plan: IdlePlan): Promise<OpenResult>
  /** Ends this many of the open connections at once and opens as many again, all at the same time. */
  reconnect(count: number): Promise<OpenResult>
  /** Open connections, from the view of this end. */
  count(): number
  /** Sends a ping on every connection and counts the answers. */
  pingAll(): Promise<number>
  closeAll(): Promise<void>
}

export interface IdlePlan {
  readonly host: string
  readonly port: number
  /** Local address: each has ports of its own. */
  readonly localAddress: string
  readonly connections: number
  /** Connections in progress at the same time. */
  readonly atOnce: number
}

export interface OpenResult {
  readonly greeted: number
  /** Codes and messages of refused connections, or `closed` for those that ended silently. */
  readonly refused: readonly string[]
  readonly tookMs: number
  /** From the attempt to connect to the answer to hello. */
  readonly greetedMs: readonly number[]
}

interface Connection {
  readonly socket: Socket
  readonly decoder: FrameDecoder
  onFrame: (frame: Frame) => void
}

const hello = encodeFrame(commands.hello.number, 0, 1, {
  versionMin: protocolVersionMin,
  versionMax: protocolVersion,
  clientName: 'idle',
  clientVersion: '0',
})
const ping = encodeFrame(commands.ping.number, 0, 2, {})
const pingMs = 20_000
const open = new Set<Connection>()
let plan: IdlePlan | undefined

const calls: IdleCalls = {
  open(given) {
    plan = given
    return openMany(given, given.connections, given.atOnce)
  },

  async reconnect(count) {
    if (plan === undefined) throw new Error('nothing is open')
    const ended = [...open].slice(0, count)
    for (const connection of ended) connection.socket.destroy()
    return openMany(plan, ended.length, ended.length)
  },

  count: () => open.size,

  async pingAll() {
    let answered = 0
    for (const connection of open) {
      connection.onFrame = () => answered++
      connection.socket.write(ping)
    }
    for (const untilMs = monotonicMs() + pingMs; answered < open.size && monotonicMs() < untilMs; )
      await sleep(10)
    return answered
  },

  async closeAll() {
    await Promise.all(
      Array.from(open, ({ socket }) => {
        const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
        socket.end()
        return closed
      }),
    )
  },
}

async function openMany(given: IdlePlan, connections: number, atOnce: number): Promise<OpenResult> {
  const startMs = monotonicMs()
  const refused: string[] = []
  const greetedMs: number[] = []
  let left = connections
  const lane = async (): Promise<void> => {
    while (left-- > 0) {
      const beganMs = monotonicMs()
      const problem = await openOne(given)
      if (problem === undefined) greetedMs.push(monotonicMs() - beganMs)
      else refused.push(problem)
    }
  }
  await Promise.all(Array.from({ length: atOnce }, lane))
  return { greeted: greetedMs.length, refused, tookMs: monotonicMs() - startMs, greetedMs }
}

/** Resolves with the error of the broker, or undefined after hello. */
function openOne({ host, port, localAddress }: IdlePlan): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connectSocket({ host, port, localAddress })
    const connection: Connection = {
      socket,
      decoder: new FrameDecoder(),
      onFrame: ({ flags, body }) => {
        if ((flags & frameFlags.error) !== 0) {
          const { code, message } = readErrorBody(decodeBody(body))
          resolve(`${code}: ${message}`)
          return
        }
        open.add(connection)
        resolve(undefined)
      },
    }
    socket.on('data', (chunk) => {
      for (const frame of connection.decoder.push(chunk)) connection.onFrame(frame)
    })
    socket.on('error', (error) => resolve(error.message))
    socket.on('close', () => {
      open.delete(connection)
      resolve('closed')
    })
    socket.write(hello)
  })
}

serveCalls(calls)
