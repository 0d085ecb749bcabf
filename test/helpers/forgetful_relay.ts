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
  /** Ends the open connections. */
  cut(): void
}

export async function startForgetfulRelay(context: TestContext, targetPort: number): Promise<ForgetfulRelay> {
  const sockets = new Set<Socket>()
  const upstreams = new Set<Socket>()
  const forgotten = new Set<Socket>()
  let holdsNew = false
  const server = createServer((client) => {
    const upstream = connect(targetPort, '127.0.0.1')
    upstreams.add(upstream)
    relay(client, upstream)
    relay(upstream, client)
    if (holdsNew) upstream.pause()
  })
  const relay = (from: Socket, to: Socket): void => {
    sockets.add(from)
    // Data on a forgotten connection is read and dropped.
    from.on('data', (bytes) => void (forgotten.has(from) || to.write(bytes)))
    from.on('error', () => {})
    from.on('close', () => {
      sockets.delete(from)
      upstreams.delete(from)
      if (!forgotten.delete(from)) to.destroy()
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
    cut: () => {
      for (const socket of sockets) socket.destroy()
    },
  }
}
