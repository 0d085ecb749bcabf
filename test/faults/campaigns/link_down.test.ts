import { testShortCampaign } from '../short_campaign.js'
import { linkDown } from './link_down.js'

testShortCampaign(linkDown)
