import { testShortCampaign } from '../short_campaign.js'
import { fastPublishers } from './fast_publishers.js'

testShortCampaign(fastPublishers)
