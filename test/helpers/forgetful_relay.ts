import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import type { TestContext } from './suite.js'

/**
 * A relay in front of a broker that can forget its connections, like firewalls and address translators: nothing
 * passes on them any more, and neither end gets an error. New ones work.
 */
export interface ForgetfulRelay {
  readonly port: number
  /** Forgets the open connections. */
  forget(): void
  /** Drops the broker's data on the open connections, but not the client's. */
  loseReplies(): void
  /** Holds back the broker's data on the open connections, until the returned function is called. */
  holdReplies(): () => void
  /** The same, also on connections that are opened meanwhile. */
  holdAllReplies(): () => void
  /** Holds back all that the client sends on the open connections, also after their end, until `deliver`. */
  holdRequests(): HeldRequests
  /** Ends the open connections. */
  cut(): void
}

export interface HeldRequests {
  /** Bytes that the client has sent. */
  readonly bytes: number
  /** Ends the connections for the client; the broker still sees them as open. */
  abandon(): void
  /** Passes the bytes on to the broker; resolves when all connections have ended. */
  deliver(): Promise<void>
}

export async function startForgetfulRelay(context: TestContext, targetPort: number): Promise<ForgetfulRelay> {
  const sockets = new Set<Socket>()
  const upstreams = new Set<Socket>()
  const forgotten = new Set<Socket>()
  /** By the client's socket: data for the broker. */
  const held = new Map<Socket, Buffer[]>()
  const pairs = new Map<Socket, Socket>()
  let holdsNew = false
  const server = createServer((client) => {
    const upstream = connect(targetPort, '127.0.0.1')
    upstreams.add(upstream)
    relay(client, upstream)
    relay(upstream, client)
    pairs.set(client, upstream)
    client.on('close', () => pairs.delete(client))
    if (holdsNew) upstream.pause()
  })
  const relay = (from: Socket, to: Socket): void => {
    sockets.add(from)
    // Data on a forgotten connection is read and dropped.
    from.on('data', (bytes) => {
      const kept = held.get(from)
      if (kept !== undefined) kept.push(bytes)
      else if (!forgotten.has(from)) to.write(bytes)
    })
    from.on('error', () => {})
    from.on('close', () => {
      sockets.delete(from)
      upstreams.delete(from)
      if (!forgotten.delete(from) && !held.has(from)) to.destroy()
    })
  }
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  context.defer(async () => {
    for (const socket of sockets) socket.destroy()
    await new Promise<void>((resolve) => void server.close(() => resolve()))
  })
  const address = server.address()
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    forget: () => {
      for (const socket of sockets) forgotten.add(socket)
    },
    loseReplies: () => {
      for (const socket of upstreams) forgotten.add(socket)
    },
    holdReplies: () => {
      const held = [...upstreams]
      for (const socket of held) socket.pause()
      return () => {
        for (const socket of held) socket.resume()
      }
    },
    holdAllReplies: () => {
      holdsNew = true
      for (const socket of upstreams) socket.pause()
      return () => {
        holdsNew = false
        for (const socket of upstreams) socket.resume()
      }
    },
    holdRequests: () => {
      const connections = [...pairs].map(([client, upstream]) => ({ client, upstream, kept: [] as Buffer[] }))
      for (const { client, kept } of connections) held.set(client, kept)
      return {
        get bytes() {
          return connections.reduce((sum, { kept }) => sum + Buffer.concat(kept).length, 0)
        },
        abandon: () => {
          for (const { client } of connections) client.destroy()
        },
        deliver: async () => {
          await Promise.all(
            connections.map(async ({ client, upstream, kept }) => {
              held.delete(client)
              if (upstream.destroyed) return
              const closed = once(upstream, 'close')
              upstream.end(Buffer.concat(kept))
              await closed
            }),
          )
        },
      }
    },
    cut: () => {
      for (const socket of sockets) socket.destroy()
    },
  }
}
