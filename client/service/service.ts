import { type Codec, coderOf, type ValueCoder, type ValueFormat } from '../codecs.js'
import { checkOptions } from '../options.js'
import { defineTopic, type Topic } from '../topic.js'

/** A service: the topic of its requests, and the codec of its replies. Both ends share it. */
export interface Service<RequestIn, RequestOut, ReplyIn, ReplyOut, Key = string> {
  readonly topic: Topic<RequestIn, RequestOut, Key>
  readonly reply: ValueCoder<ReplyIn, ReplyOut>
}

/**
 * Defines a service for requesters and responders; does not create its topic in the broker.
 * @throws MillraceError BAD_NAME, BAD_OPTION
 * @example const prices = defineService('prices', { request: json<{ item: string }>(), reply: json<{ cents: number }>()
 * })
 */
export function defineService<
  RequestIn,
  RequestOut = RequestIn,
  ReplyIn = Uint8Array,
  ReplyOut = ReplyIn,
  Key = string,
>(
  name: string,
  definition: {
    readonly request: ValueFormat<RequestIn, RequestOut>
    readonly reply: ValueFormat<ReplyIn, ReplyOut>
    /** Default: string. */
    readonly key?: Codec<Key> | undefined
  },
): Service<RequestIn, RequestOut, ReplyIn, ReplyOut, Key> {
  checkOptions('defineService', definition, { request: true, reply: true, key: true })
  const { request, reply, key } = definition
  return {
    topic: defineTopic<RequestIn, RequestOut, Key>(
      name,
      key === undefined ? { value: request } : { value: request, key },
    ),
    reply: coderOf(reply),
  }
}
